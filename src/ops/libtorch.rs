/// How many GPUs libtorch can use.
pub(super) fn gpu_count() -> usize {
    usize::try_from(tch::Cuda::device_count()).unwrap_or(0)
}
