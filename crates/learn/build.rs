//! Makes programs and tests find libtorch where it was linked.

fn main() {
    palestra_link::libtorch();
}
