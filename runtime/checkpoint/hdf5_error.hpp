/// Failures of HDF5 and of the files it writes; free of hdf5.h, for those who catch them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <source_location>
#include <string>

#include "kernels/base/error.hpp"

namespace annulus {

/// An HDF5 call failed: what it was to do, with which file, and where. `code` says whose fault a failure there is:
/// input for files that are read, resources for files that are written.
struct Hdf5Error : Error {
  Hdf5Error(ExitCode code, const std::string& doing, const std::string& path,
            std::source_location at = std::source_location::current());
};

/// Writing a file failed on some rank. Every rank throws it, the temporary file is gone, but HDF5 still holds the file
/// open: HDF5 1.10 crashes inside MPI_Finalize now, so the program must end by MPI_Abort.
struct DamagedFileError : Error {
  explicit DamagedFileError(const Error& cause) : Error(cause.code(), cause.what()) {}
};

}  // namespace annulus
