"""The program ``palestra`` on the libtorch of the package ``torch``. The program of the package ``palestra`` starts it in
its place."""
