/* A CUDA driver without a GPU: enough of libcuda.so.1 for cuDNN to load, check graphs, and make plans for GPUs that are only
   described. Loading a kernel succeeds and gives a handle that nobody may use; all that asks for a device fails. */
/* SPDX-License-Identifier: Apache-2.0 */

enum { success = 0, no_device = 100 };

#define ANNULUS_NO_DEVICE(name) \
  int name(void);               \
  int name(void) { return no_device; }
#define ANNULUS_NOTHING(name) \
  int name(void);             \
  int name(void) { return success; }
#define ANNULUS_HANDLE(name)  \
  int name(void** handle);    \
  int name(void** handle) {   \
    *handle = (void*)handle;  \
    return success;           \
  }

ANNULUS_NO_DEVICE(cuInit)
ANNULUS_NO_DEVICE(cuDriverGetVersion)
ANNULUS_NO_DEVICE(cuGetProcAddress)
ANNULUS_NO_DEVICE(cuGetProcAddress_v2)
ANNULUS_NO_DEVICE(cuDeviceGetCount)

ANNULUS_HANDLE(cuLibraryGetKernel)
ANNULUS_HANDLE(cuLibraryLoadData)
ANNULUS_HANDLE(cuKernelGetFunction)
ANNULUS_HANDLE(cuModuleGetFunction)
ANNULUS_HANDLE(cuModuleLoadData)

ANNULUS_NOTHING(cuCtxGetCurrent)
ANNULUS_NOTHING(cuCtxGetLimit)
ANNULUS_NOTHING(cuCtxPopCurrent)
ANNULUS_NOTHING(cuCtxPushCurrent)
ANNULUS_NOTHING(cuDeviceGet)
ANNULUS_NOTHING(cuGetErrorName)
ANNULUS_NOTHING(cuGetErrorString)
ANNULUS_NOTHING(cuKernelGetAttribute)
ANNULUS_NOTHING(cuKernelSetAttribute)
ANNULUS_NOTHING(cuLaunchCooperativeKernel)
ANNULUS_NOTHING(cuLaunchKernel)
ANNULUS_NOTHING(cuLaunchKernelEx)
ANNULUS_NOTHING(cuLibraryLoadFromFile)
ANNULUS_NOTHING(cuLibraryUnload)
ANNULUS_NOTHING(cuLinkAddData)
ANNULUS_NOTHING(cuLinkComplete)
ANNULUS_NOTHING(cuLinkCreate)
ANNULUS_NOTHING(cuLinkDestroy)
ANNULUS_NOTHING(cuModuleUnload)
ANNULUS_NOTHING(cuOccupancyMaxPotentialClusterSize)
ANNULUS_NOTHING(cuStreamGetCtx)
ANNULUS_NOTHING(cuTensorMapEncodeIm2col)
ANNULUS_NOTHING(cuTensorMapEncodeTiled)
ANNULUS_NOTHING(n)
