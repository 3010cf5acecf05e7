# Fails if an object compiled for an instruction set shares code with others: the linker keeps one copy of an inline
# function, and a copy made of AVX-512 instructions would end the program on a processor without them.
#   cmake -D NM=nm -D OBJECTS=a.o;b.o -P simd_symbols.cmake
# SPDX-License-Identifier: Apache-2.0
list(FILTER OBJECTS INCLUDE REGEX "/simd/tile_[a-z0-9]+\\.cpp")
if(NOT OBJECTS)
  message(FATAL_ERROR "no object of kernels/simd/tile_*.cpp was given")
endif()
foreach(object IN LISTS OBJECTS)
  execute_process(COMMAND ${NM} -C -g --defined-only ${object} OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX MATCHALL "[^\n]+" symbols "${symbols}")
  list(FILTER symbols EXCLUDE REGEX "annulus::kernels::simd::[a-z0-9]+_tiles$")
  if(symbols)
    list(JOIN symbols "\n  " symbols)
    message(FATAL_ERROR "${object} shares code with other files:\n  ${symbols}")
  endif()
endforeach()
