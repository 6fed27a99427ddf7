//! Makes programs and tests find libtorch where it was linked, with no environment variable at run time.
//!
//! The build scripts of all crates whose programs or tests are linked with libtorch call it: a build script sets the linker's
//! arguments of its own crate alone.

/// Tells cargo the linker's arguments, where libtorch is linked.
pub fn libtorch() {
    println!("cargo::rerun-if-env-changed=DEP_TCH_LIBTORCH_LIB");
    // torch-sys says where it linked from (`links = "tch"`). It is a direct dependency only for this, and an optional
    // one: without the feature `libtorch` there is nothing to do.
    let Some(folder) = std::env::var_os("DEP_TCH_LIBTORCH_LIB") else { return };
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", folder.to_string_lossy());
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux") {
        // In a libtorch for CUDA, nothing calls libtorch_cuda.so by name: it registers itself when it is loaded. By
        // default the linker drops a library that nothing calls.
        println!("cargo::rustc-link-arg=-Wl,--no-as-needed,-ltorch,--as-needed");
    }
}
