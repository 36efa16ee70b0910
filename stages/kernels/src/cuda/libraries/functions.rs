//! The functions of NVIDIA's libraries that candle, cudarc and this crate call, each defined as a jump to the library's. The two that
//! allocate and free are in `blocks`.
//!
//! The linker takes these definitions instead of making the libraries a dependency of the program. A function that is called
//! and missing here is found by `make check-cuda`: the program does not link.

use std::arch::naked_asm;
use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::AtomicPtr;

/// A function that is found in a library when that is loaded.
pub(super) struct Function {
    pub(super) name: &'static str,
    /// Where calls jump to.
    pub(super) target: &'static AtomicPtr<c_void>,
}

/// Jumps to the address in `target`; every register and the stack are those of the caller.
#[cfg(target_arch = "x86_64")]
macro_rules! jump {
    ($target:path) => {
        naked_asm!("jmp qword ptr [rip + {target}]", target = sym $target)
    };
}

/// Jumps to the address in `target`. `x16` is the register that the calling convention reserves for jumps between libraries.
#[cfg(target_arch = "aarch64")]
macro_rules! jump {
    ($target:path) => {
        naked_asm!("adrp x16, {target}", "ldr x16, [x16, :lo12:{target}]", "br x16", target = sym $target)
    };
}

/// Defines functions and the list of them.
macro_rules! functions {
    ($(#[$doc:meta])* $list:ident: $($name:ident)*) => {
        $(#[$doc])*
        #[used] // The functions are called by name; some lists are read by nobody.
        pub(super) static $list: &[Function] = &[$({
            static TARGET: AtomicPtr<c_void> = AtomicPtr::new(not_loaded as *mut c_void);
            // SAFETY: no other definition of this name is linked; the libraries that have one are loaded at run time.
            #[unsafe(naked)]
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name() {
                jump!(TARGET)
            }
            Function { name: stringify!($name), target: &TARGET }
        }),*];
    };
}

/// Called instead of a function whose library has not been loaded.
pub(super) extern "C" fn not_loaded() {
    eprintln!("A function of CUDA was called before its library was loaded (a defect of dnc-run; please report it)");
    std::process::abort();
}

functions! {
    /// The driver, `libcuda`.
    DRIVER:
    cuCtxCreate_v2 cuCtxCreate_v3 cuCtxCreate_v4 cuCtxDestroy_v2 cuCtxGetCacheConfig cuCtxGetCurrent cuCtxGetLimit
    cuCtxGetStreamPriorityRange cuCtxSetCacheConfig cuCtxSetCurrent cuCtxSetFlags cuCtxSetLimit cuCtxSynchronize
    cuDestroyExternalMemory cuDeviceGet cuDeviceGetAttribute cuDeviceGetCount cuDeviceGetDefaultMemPool cuDeviceGetMemPool
    cuDeviceGetName cuDeviceGetUuid cuDeviceGetUuid_v2 cuDevicePrimaryCtxRelease_v2 cuDevicePrimaryCtxRetain
    cuDeviceSetMemPool cuDeviceTotalMem_v2 cuDriverGetVersion cuEventCreate cuEventDestroy_v2 cuEventElapsedTime
    cuEventElapsedTime_v2 cuEventQuery cuEventRecord cuEventSynchronize cuExternalMemoryGetMappedBuffer cuFuncGetAttribute
    cuFuncSetAttribute cuFuncSetCacheConfig cuGetErrorName cuGetErrorString cuGraphClone cuGraphDestroy cuGraphExecDestroy
    cuGraphInstantiate cuGraphInstantiateWithFlags cuGraphLaunch cuGraphUpload cuImportExternalMemory cuInit
    cuLaunchCooperativeKernel cuLaunchHostFunc cuLaunchKernel cuMemAdvise cuMemAdvise_v2
    cuMemAllocFromPoolAsync cuMemAllocManaged cuMemAlloc_v2 cuMemFreeHost cuMemFree_v2 cuMemGetInfo_v2
    cuMemHostAlloc cuMemPoolCreate cuMemPoolDestroy cuMemPoolGetAttribute cuMemPoolSetAttribute cuMemPoolTrimTo
    cuMemPrefetchAsync cuMemPrefetchAsync_v2 cuMemcpyDtoDAsync_v2 cuMemcpyDtoD_v2 cuMemcpyDtoHAsync_v2 cuMemcpyDtoH_v2
    cuMemcpyHtoDAsync_v2 cuMemcpyHtoD_v2 cuMemcpyPeerAsync cuMemsetD8Async cuMemsetD8_v2 cuModuleGetFunction
    cuModuleGetGlobal_v2 cuModuleLoad cuModuleLoadData cuModuleUnload cuOccupancyAvailableDynamicSMemPerBlock
    cuOccupancyMaxActiveBlocksPerMultiprocessor cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags
    cuOccupancyMaxActiveClusters cuOccupancyMaxPotentialBlockSize cuOccupancyMaxPotentialBlockSizeWithFlags
    cuOccupancyMaxPotentialClusterSize cuProfilerStart cuProfilerStop cuStreamAttachMemAsync cuStreamBeginCapture_v2
    cuStreamCreate cuStreamCreateWithPriority cuStreamDestroy_v2 cuStreamEndCapture cuStreamGetCaptureInfo_v2
    cuStreamGetCaptureInfo_v3 cuStreamIsCapturing cuStreamSynchronize cuStreamWaitEvent
}

functions! {
    /// cuBLAS.
    CUBLAS:
    cublasCreate_v2 cublasDasum_v2 cublasDestroy_v2 cublasDgemmStridedBatched cublasDgemm_v2 cublasDgemv_v2 cublasGemmEx
    cublasGemmGroupedBatchedEx cublasGemmStridedBatchedEx cublasGetPointerMode_v2 cublasGetVersion_v2 cublasSasum_v2
    cublasSetMathMode cublasSetPointerMode_v2 cublasSetStream_v2 cublasSetWorkspace_v2 cublasSgemmStridedBatched
    cublasSgemm_v2 cublasSgemv_v2
}

functions! {
    /// cuBLASLt.
    CUBLAS_LT:
    cublasLtCreate cublasLtDestroy cublasLtLoggerOpenFile cublasLtLoggerSetLevel cublasLtMatmul
    cublasLtMatmulAlgoGetHeuristic cublasLtMatmulDescCreate cublasLtMatmulDescDestroy cublasLtMatmulDescSetAttribute
    cublasLtMatmulPreferenceCreate cublasLtMatmulPreferenceDestroy cublasLtMatmulPreferenceSetAttribute
    cublasLtMatrixLayoutCreate cublasLtMatrixLayoutDestroy cublasLtMatrixLayoutSetAttribute
}

functions! {
    /// cuRAND, which candle opens with every device.
    CURAND:
    curandCreateGenerator curandDestroyGenerator curandGenerate curandGenerateLogNormal curandGenerateLogNormalDouble
    curandGenerateLongLong curandGenerateNormal curandGenerateNormalDouble curandGeneratePoisson curandGenerateUniform
    curandGenerateUniformDouble curandSetGeneratorOffset curandSetPseudoRandomGeneratorSeed curandSetStream
}

functions! {
    /// cuDNN.
    CUDNN:
    cudnnActivationForward cudnnAdvInferVersionCheck cudnnAdvTrainVersionCheck cudnnAdvVersionCheck
    cudnnBackendCreateDescriptor cudnnBackendDestroyDescriptor cudnnBackendExecute cudnnBackendFinalize
    cudnnBackendGetAttribute cudnnBackendSetAttribute
    cudnnCnnInferVersionCheck cudnnCnnTrainVersionCheck cudnnCnnVersionCheck cudnnConvolutionBackwardData
    cudnnConvolutionBackwardFilter cudnnConvolutionBiasActivationForward cudnnConvolutionForward cudnnCreate
    cudnnCreateActivationDescriptor cudnnCreateConvolutionDescriptor cudnnCreateFilterDescriptor
    cudnnCreatePoolingDescriptor cudnnCreateReduceTensorDescriptor cudnnCreateTensorDescriptor cudnnDestroy
    cudnnDestroyActivationDescriptor cudnnDestroyConvolutionDescriptor cudnnDestroyFilterDescriptor
    cudnnDestroyPoolingDescriptor cudnnDestroyReduceTensorDescriptor cudnnDestroyTensorDescriptor
    cudnnGetConvolutionBackwardDataAlgorithm_v7 cudnnGetConvolutionBackwardDataWorkspaceSize
    cudnnGetConvolutionBackwardFilterAlgorithm_v7 cudnnGetConvolutionBackwardFilterWorkspaceSize
    cudnnGetConvolutionForwardAlgorithm_v7 cudnnGetConvolutionForwardWorkspaceSize cudnnGetCudartVersion
    cudnnGetErrorString cudnnGetReductionIndicesSize cudnnGetReductionWorkspaceSize cudnnGetVersion
    cudnnOpsInferVersionCheck cudnnOpsTrainVersionCheck cudnnOpsVersionCheck cudnnPoolingForward cudnnReduceTensor
    cudnnSetActivationDescriptor cudnnSetConvolution2dDescriptor cudnnSetConvolutionGroupCount
    cudnnSetConvolutionMathType cudnnSetConvolutionNdDescriptor cudnnSetFilter4dDescriptor cudnnSetFilterNdDescriptor
    cudnnSetPoolingNdDescriptor cudnnSetReduceTensorDescriptor cudnnSetStream cudnnSetTensor4dDescriptor
    cudnnSetTensor4dDescriptorEx cudnnSetTensorNdDescriptor cudnnSoftmaxForward
}

functions! {
    /// The run-time compiler, which cudarc declares and nothing calls: never loaded.
    COMPILER:
    nvrtcCompileProgram nvrtcCreateProgram nvrtcDestroyProgram nvrtcGetPTX nvrtcGetPTXSize nvrtcGetProgramLog
    nvrtcGetProgramLogSize
}

functions! {
    /// The run-time library as candle's kernels for quantised models call it, which nothing here runs: never loaded.
    RUNTIME:
    __cudaGetKernel __cudaLaunchKernel __cudaLaunchKernel_ptsz __cudaPopCallConfiguration __cudaPushCallConfiguration
    cudaDeviceGetAttribute cudaFree cudaFreeAsync cudaFreeAsync_ptsz cudaFuncGetAttributes cudaFuncSetAttribute
    cudaGetDevice cudaGetDeviceCount cudaGetErrorName cudaGetErrorString cudaGetLastError cudaLaunchKernel
    cudaLaunchKernelExC cudaLaunchKernelExC_ptsz cudaLaunchKernel_ptsz cudaMalloc cudaMallocAsync cudaMallocAsync_ptsz
    cudaMemsetAsync cudaMemsetAsync_ptsz cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags cudaPeekAtLastError
    cudaSetDevice cudaStreamSynchronize cudaStreamSynchronize_ptsz
}

// The constructors of candle's compiled kernels announce them to the run-time library when the program starts. Since none of
// these kernels is run, the announcements have no effect.

// SAFETY: as above, the name has no other definition. Nothing reads the handle.
#[unsafe(no_mangle)]
extern "C" fn __cudaRegisterFatBinary(_: *const c_void) -> *mut *mut c_void {
    ptr::null_mut()
}

/// Defines functions that do nothing.
macro_rules! ignored {
    ($($name:ident)*) => {
        $(
            // SAFETY: as above. The function reads none of the arguments that it is called with.
            #[unsafe(no_mangle)]
            extern "C" fn $name() {}
        )*
    };
}

ignored! {
    __cudaInitModule __cudaRegisterFatBinaryEnd __cudaRegisterFunction __cudaRegisterManagedVar __cudaRegisterVar
    __cudaUnregisterFatBinary
}
