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
endif()

if(ANNULUS_ENABLE_TESTS)
  find_package(GTest REQUIRED)
  find_package(benchmark QUIET)
endif()

set(ANNULUS_HAVE_CUDA OFF)
if(ANNULUS_ENABLE_CUDA STREQUAL "AUTO")
  find_package(CUDAToolkit QUIET)
elseif(ANNULUS_ENABLE_CUDA)
  find_package(CUDAToolkit REQUIRED)
endif()
if(CUDAToolkit_FOUND)
  set(ANNULUS_HAVE_CUDA ON)
endif()
