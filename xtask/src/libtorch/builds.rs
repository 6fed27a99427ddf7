//! Builds of libtorch that PyPI has, and the wheels that they are made of.
//!
//! Many networks reach PyPI and not the site that torch-sys downloads from, and torch's wheel holds all that is needed
//! to compile and link. The wheel is built for CUDA. For the CPU a few of its libraries are enough, with two small ones
//! from NVIDIA's own wheels that `libtorch_cpu.so` needs at load time. For GPUs its libraries and those of NVIDIA's wheels
//! are kept beside each other as Python keeps them, for they find each other by relative paths.

/// The one version that tch 0.22 binds.
pub const VERSION: &str = "2.9.0";

/// A build of libtorch, as the wheels of PyPI have it.
#[derive(Clone, Copy)]
pub struct Build {
    /// Name of the build, as in the cache folder and on the command line.
    pub name: &'static str,
    /// Bytes that are downloaded and kept, in words.
    pub size: &'static str,
    pub wheels: &'static [Wheel],
    /// Hash of all files that are kept of the wheels, as the digest in `wheels.rs` computes it. It is compared at each use:
    /// what lies in the cache for months is linked into the program.
    pub sha256: &'static str,
    /// Folder of libtorch (`include/`, `lib/`) below that of the build.
    pub home: &'static str,
    /// Linker script to keep as `lib/libtorch.so`, in place of the library in the wheel.
    pub libtorch_so: Option<&'static str>,
}

/// A Python package, and the parts that are taken out of it.
pub struct Wheel {
    pub requirement: &'static str,
    /// Hash of the wheel. pip takes no other file.
    pub sha256: &'static str,
    /// Platform tag of pip for the oldest system that the wheel runs on. It is given explicitly, with the Python
    /// version, so that the same wheel is found with any Python that runs pip.
    pub platform: &'static str,
    /// Source (a file, or a folder ending in `/`) and target of each part, below the folder of the build.
    pub take: &'static [(&'static str, &'static str)],
}

/// For the CPU.
pub const CPU: Build = Build {
    name: "cpu",
    size: "a download of about 900 MB, of which 460 MB are kept",
    wheels: &CPU_WHEELS,
    sha256: "a909c6cece2e215d506dfeb5cd155fdbc2257e612c11b7a144131b4c15230243",
    home: "",
    // tch links with -ltorch. In this version libtorch.so is empty but for its dependency on libtorch_cpu.so, and the
    // wheel's one wants the CUDA libraries too.
    libtorch_so: Some("INPUT(libtorch_cpu.so)\n"),
};

/// For NVIDIA's GPUs, CUDA 12.8, and the CPU.
pub const CUDA: Build = Build {
    name: "cuda",
    size: "a download of about 3.5 GB, of which 5.9 GB are kept, unpacked",
    wheels: &CUDA_WHEELS,
    sha256: "80febd106a3e3ae64226020af4fd4a0bbb9ceab3c145daa567dcd9a11e727505",
    home: "torch",
    libtorch_so: None,
};

const CPU_WHEELS: [Wheel; 3] = [
    Wheel {
        requirement: "torch==2.9.0",
        sha256: "51de31219c97c51cf4bf2be94d622e3deb5dcc526c6dc00e97c17eaec0fc1d67",
        platform: "manylinux_2_28_x86_64",
        take: &[
            ("torch/include/", "include/"),
            ("torch/lib/libtorch_cpu.so", "lib/libtorch_cpu.so"),
            ("torch/lib/libc10.so", "lib/libc10.so"),
            ("torch/lib/libgomp.so.1", "lib/libgomp.so.1"),
        ],
    },
    Wheel {
        requirement: "nvidia-cuda-runtime-cu12==12.8.90",
        sha256: "adade8dcbd0edf427b7204d480d6066d33902cab2a4707dcfc48a2d0fd44ab90",
        platform: "manylinux2014_x86_64",
        take: &[("nvidia/cuda_runtime/lib/libcudart.so.12", "lib/libcudart.so.12")],
    },
    Wheel {
        requirement: "nvidia-cuda-cupti-cu12==12.8.90",
        sha256: "ea0cb07ebda26bb9b29ba82cda34849e73c166c18162d3913575b0c9db9a6182",
        platform: "manylinux2014_x86_64",
        take: &[("nvidia/cuda_cupti/lib/libcupti.so.12", "lib/libcupti.so.12")],
    },
];

const CUDA_WHEELS: [Wheel; 16] = [
    Wheel {
        requirement: "torch==2.9.0",
        sha256: "51de31219c97c51cf4bf2be94d622e3deb5dcc526c6dc00e97c17eaec0fc1d67",
        platform: "manylinux_2_28_x86_64",
        take: &[("torch/include/", "torch/include/"), ("torch/lib/", "torch/lib/")],
    },
    Wheel {
        requirement: "nvidia-cuda-nvrtc-cu12==12.8.93",
        sha256: "a7756528852ef889772a84c6cd89d41dfa74667e24cca16bb31f8f061e3e9994",
        platform: "manylinux2010_x86_64",
        take: &[("nvidia/cuda_nvrtc/lib/", "nvidia/cuda_nvrtc/lib/")],
    },
    Wheel {
        requirement: "nvidia-cuda-runtime-cu12==12.8.90",
        sha256: "adade8dcbd0edf427b7204d480d6066d33902cab2a4707dcfc48a2d0fd44ab90",
        platform: "manylinux2014_x86_64",
        take: &[("nvidia/cuda_runtime/lib/", "nvidia/cuda_runtime/lib/")],
    },
    Wheel {
        requirement: "nvidia-cuda-cupti-cu12==12.8.90",
        sha256: "ea0cb07ebda26bb9b29ba82cda34849e73c166c18162d3913575b0c9db9a6182",
        platform: "manylinux2014_x86_64",
        take: &[("nvidia/cuda_cupti/lib/", "nvidia/cuda_cupti/lib/")],
    },
    Wheel {
        requirement: "nvidia-cudnn-cu12==9.10.2.21",
        sha256: "949452be657fa16687d0930933f032835951ef0892b37d2d53824d1a84dc97a8",
        platform: "manylinux_2_27_x86_64",
        take: &[("nvidia/cudnn/lib/", "nvidia/cudnn/lib/")],
    },
    Wheel {
        requirement: "nvidia-cublas-cu12==12.8.4.1",
        sha256: "8ac4e771d5a348c551b2a426eda6193c19aa630236b418086020df5ba9667142",
        platform: "manylinux_2_27_x86_64",
        take: &[("nvidia/cublas/lib/", "nvidia/cublas/lib/")],
    },
    Wheel {
        requirement: "nvidia-cufft-cu12==11.3.3.83",
        sha256: "4d2dd21ec0b88cf61b62e6b43564355e5222e4a3fb394cac0db101f2dd0d4f74",
        platform: "manylinux2014_x86_64",
        take: &[("nvidia/cufft/lib/", "nvidia/cufft/lib/")],
    },
    Wheel {
        requirement: "nvidia-curand-cu12==10.3.9.90",
        sha256: "b32331d4f4df5d6eefa0554c565b626c7216f87a06a4f56fab27c3b68a830ec9",
        platform: "manylinux_2_27_x86_64",
        take: &[("nvidia/curand/lib/", "nvidia/curand/lib/")],
    },
    Wheel {
        requirement: "nvidia-cusolver-cu12==11.7.3.90",
        sha256: "4376c11ad263152bd50ea295c05370360776f8c3427b30991df774f9fb26c450",
        platform: "manylinux_2_27_x86_64",
        take: &[("nvidia/cusolver/lib/", "nvidia/cusolver/lib/")],
    },
    Wheel {
        requirement: "nvidia-cusparse-cu12==12.5.8.93",
        sha256: "1ec05d76bbbd8b61b06a80e1eaf8cf4959c3d4ce8e711b65ebd0443bb0ebb13b",
        platform: "manylinux2014_x86_64",
        take: &[("nvidia/cusparse/lib/", "nvidia/cusparse/lib/")],
    },
    Wheel {
        requirement: "nvidia-cusparselt-cu12==0.7.1",
        sha256: "f1bb701d6b930d5a7cea44c19ceb973311500847f81b634d802b7b539dc55623",
        platform: "manylinux2014_x86_64",
        take: &[("nvidia/cusparselt/lib/", "nvidia/cusparselt/lib/")],
    },
    Wheel {
        requirement: "nvidia-nccl-cu12==2.27.5",
        sha256: "ad730cf15cb5d25fe849c6e6ca9eb5b76db16a80f13f425ac68d8e2e55624457",
        platform: "manylinux2014_x86_64",
        take: &[("nvidia/nccl/lib/", "nvidia/nccl/lib/")],
    },
    Wheel {
        requirement: "nvidia-nvshmem-cu12==3.3.20",
        sha256: "d00f26d3f9b2e3c3065be895e3059d6479ea5c638a3f38c9fec49b1b9dd7c1e5",
        platform: "manylinux2014_x86_64",
        take: &[("nvidia/nvshmem/lib/", "nvidia/nvshmem/lib/")],
    },
    Wheel {
        requirement: "nvidia-nvtx-cu12==12.8.90",
        sha256: "5b17e2001cc0d751a5bc2c6ec6d26ad95913324a4adb86788c944f8ce9ba441f",
        platform: "manylinux2014_x86_64",
        take: &[("nvidia/nvtx/lib/", "nvidia/nvtx/lib/")],
    },
    Wheel {
        requirement: "nvidia-nvjitlink-cu12==12.8.93",
        sha256: "81ff63371a7ebd6e6451970684f916be2eab07321b73c9d244dc2b4da7f73b88",
        platform: "manylinux2010_x86_64",
        take: &[("nvidia/nvjitlink/lib/", "nvidia/nvjitlink/lib/")],
    },
    Wheel {
        requirement: "nvidia-cufile-cu12==1.13.1.3",
        sha256: "1d069003be650e131b21c932ec3d8969c1715379251f8d23a1860554b1cb24fc",
        platform: "manylinux2014_x86_64",
        take: &[("nvidia/cufile/lib/", "nvidia/cufile/lib/")],
    },
];
