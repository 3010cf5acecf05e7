# The one summary at the end of a configuration.
# SPDX-License-Identifier: Apache-2.0

set(annulus_cuda "not found")
if(ANNULUS_HAVE_CUDA)
  set(annulus_cuda "${CUDAToolkit_VERSION}, kernels for ${ANNULUS_CUDA_ARCHITECTURES}, only bf16 at head_dim 128")
  if(ANNULUS_ALL_CUDA_KERNELS)
    set(annulus_cuda "${CUDAToolkit_VERSION}, all kernels for ${ANNULUS_CUDA_ARCHITECTURES}")
  endif()
elseif(NOT ANNULUS_ENABLE_CUDA)
  set(annulus_cuda "off")
endif()
message(STATUS "Annulus ${PROJECT_VERSION}")
message(STATUS "  build        ${CMAKE_BUILD_TYPE}, ${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}")
message(STATUS "  MPI          ${MPI_C_VERSION}, ${MPI_C_LIBRARIES}")
message(STATUS "  HDF5         ${ParallelHDF5_VERSION}, parallel")
message(STATUS "  CBLAS        ${CBLAS_LIBRARY}")
message(STATUS "  CUDA toolkit ${annulus_cuda}")
message(STATUS "  tests        ${ANNULUS_ENABLE_TESTS}")
