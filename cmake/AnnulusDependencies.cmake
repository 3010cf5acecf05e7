# What Annulus is built on. All of it comes from the distribution or a module system; nothing is downloaded.
# SPDX-License-Identifier: Apache-2.0

find_package(Threads REQUIRED)
find_package(MPI 3.1 REQUIRED COMPONENTS C)
find_package(ParallelHDF5 REQUIRED)
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(XxHash REQUIRED)
find_package(CBLAS REQUIRED)

if(ANNULUS_ENABLE_PROGRAM)
  find_package(Boost 1.71 REQUIRED COMPONENTS program_options)
  find_package(tomlplusplus REQUIRED)
endif()

if(ANNULUS_ENABLE_TESTS)
  find_package(GTest REQUIRED)
  find_package(benchmark QUIET)
endif()

set(ANNULUS_HAVE_CUDA OFF)
if(ANNULUS_ENABLE_CUDA)
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 80) # for the trial compilations: newer toolkits refuse CMake's default
  endif()
  include(CheckLanguage)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    enable_language(CUDA)
    find_package(CUDAToolkit 12.5 QUIET) # cudaGetDriverEntryPointByVersion
  endif()
  if(CMAKE_CUDA_COMPILER AND CUDAToolkit_FOUND)
    set(ANNULUS_HAVE_CUDA ON)
  elseif(NOT ANNULUS_ENABLE_CUDA STREQUAL "AUTO")
    message(FATAL_ERROR "ANNULUS_ENABLE_CUDA is ON, but there is no nvcc of CUDA 12.5 or later; put it on PATH or set CUDACXX")
  endif()
endif()

# annulus_cuda_library(<NAME> <Package> <version>): sets ANNULUS_HAVE_<NAME> as ANNULUS_ENABLE_<NAME> says. A macro: find_package
# leaves its variables to the caller.
macro(annulus_cuda_library name package version)
  set(ANNULUS_HAVE_${name} OFF)
  if(ANNULUS_HAVE_CUDA AND ANNULUS_ENABLE_${name})
    find_package(${package} ${version} QUIET)
    set(ANNULUS_HAVE_${name} ${${package}_FOUND})
  endif()
  if(ANNULUS_ENABLE_${name} STREQUAL "ON" AND NOT ANNULUS_HAVE_${name})
    message(FATAL_ERROR "ANNULUS_ENABLE_${name} is ON, but there is no ${package} ${version} that fits CUDA ${CUDAToolkit_VERSION}; "
                        "try CMAKE_PREFIX_PATH: a folder with include and lib, or the site-packages of NVIDIA's wheels")
  endif()
endmacro()
annulus_cuda_library(CUBLAS CuBLAS 12.0)
annulus_cuda_library(CUDNN CuDNN 9.0)
annulus_cuda_library(NCCL NCCL 2.14) # communicators that do not block

set(ANNULUS_ALL_CUDA_KERNELS OFF)
if(ANNULUS_CUDA_KERNELS STREQUAL "all" OR (ANNULUS_CUDA_KERNELS STREQUAL "AUTO" AND EXISTS /dev/nvidiactl))
  set(ANNULUS_ALL_CUDA_KERNELS ON)
endif()
