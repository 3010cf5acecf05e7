# Finds an HDF5 C library with MPI support: ParallelHDF5::ParallelHDF5, ParallelHDF5_VERSION.
# SPDX-License-Identifier: Apache-2.0
#
# First CMake's FindHDF5 (a module system's h5pcc, HDF5_ROOT), then pkg-config, because Debian's serial and parallel flavours
# live side by side and the compiler wrapper on the path may be that of the serial one.

include(FindPackageHandleStandardArgs)

if(NOT TARGET ParallelHDF5::ParallelHDF5)
  set(HDF5_PREFER_PARALLEL ON)
  find_package(HDF5 QUIET COMPONENTS C)
  if(HDF5_FOUND AND HDF5_IS_PARALLEL)
    set(ParallelHDF5_VERSION ${HDF5_VERSION})
    add_library(ParallelHDF5::ParallelHDF5 INTERFACE IMPORTED)
    target_include_directories(ParallelHDF5::ParallelHDF5 SYSTEM INTERFACE ${HDF5_C_INCLUDE_DIRS})
    target_link_libraries(ParallelHDF5::ParallelHDF5 INTERFACE ${HDF5_C_LIBRARIES})
  else()
    find_package(PkgConfig QUIET)
    if(PKG_CONFIG_FOUND)
      pkg_search_module(AnnulusHdf5 QUIET IMPORTED_TARGET GLOBAL hdf5-mpi hdf5-openmpi hdf5-mpich)
    endif()
    if(AnnulusHdf5_FOUND)
      set(ParallelHDF5_VERSION ${AnnulusHdf5_VERSION})
      add_library(ParallelHDF5::ParallelHDF5 INTERFACE IMPORTED)
      target_link_libraries(ParallelHDF5::ParallelHDF5 INTERFACE PkgConfig::AnnulusHdf5)
    elseif(HDF5_FOUND)
      set(reason "HDF5 ${HDF5_VERSION} was found, but without MPI support; ")
    endif()
  endif()
endif()

if(TARGET ParallelHDF5::ParallelHDF5)
  set(ParallelHDF5_TARGET ParallelHDF5::ParallelHDF5)
endif()
find_package_handle_standard_args(
  ParallelHDF5
  REQUIRED_VARS ParallelHDF5_TARGET
  VERSION_VAR ParallelHDF5_VERSION
  REASON_FAILURE_MESSAGE
    "${reason}all ranks write one file, which needs the MPI flavour: load your site's parallel HDF5 module, set HDF5_ROOT, or install libhdf5-openmpi-dev")
