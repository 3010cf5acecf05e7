# annulus_test(): one executable, run plainly or under mpirun on several numbers of ranks.
# SPDX-License-Identifier: Apache-2.0

# MPI_C_LIBRARY_VERSION_STRING needs a run at configure time; asking the launcher is cheaper.
execute_process(COMMAND ${MPIEXEC_EXECUTABLE} --version OUTPUT_VARIABLE annulus_mpiexec_version ERROR_QUIET)
set(ANNULUS_TEST_PREFLAGS ${MPIEXEC_PREFLAGS})
set(ANNULUS_TEST_ENVIRONMENT OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1)
if(annulus_mpiexec_version MATCHES "Open MPI|OpenRTE")
  # More ranks than cores are normal here: nothing is bound, and a waiting rank gives its core away. Open MPI takes ob1 where
  # there is neither InfiniBand nor Omni-Path, but needs 0.2 s of each start to find out: minutes of a thousand starts.
  list(APPEND ANNULUS_TEST_PREFLAGS --oversubscribe --bind-to none)
  list(APPEND ANNULUS_TEST_ENVIRONMENT OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_pml=ob1 OMPI_ALLOW_RUN_AS_ROOT=1
       OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1)
endif()
set(ANNULUS_SANITIZED OFF)
if(CMAKE_CXX_FLAGS MATCHES "-fsanitize")
  set(ANNULUS_SANITIZED ON)
  # Open MPI leaks by the thousand. Tests of sizes that no machine has want the null that malloc returns elsewhere.
  list(APPEND ANNULUS_TEST_ENVIRONMENT ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1)
endif()

# annulus_mpi_command(<variable> <np> <program> [<argument>...]): the command that runs a program on np ranks.
function(annulus_mpi_command variable np program)
  set(${variable} ${MPIEXEC_EXECUTABLE} ${MPIEXEC_NUMPROC_FLAG} ${np} ${ANNULUS_TEST_PREFLAGS} ${program} ${MPIEXEC_POSTFLAGS}
                  ${ARGN} PARENT_SCOPE)
endfunction()

# annulus_test(<path>_test.cpp... [NP <n>...] [TIMEOUT <s>] [LABELS <label>...] [LIBRARIES <target>...] [ENVIRONMENT <VAR=x>...]
#              [ARGUMENTS <arg>...])
#
# The first source names the test. With NP it runs under mpirun as <room>/<name>.np<n> with the MPI main; without NP it
# runs plainly, with a main that knows no MPI.
function(annulus_test source)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "TIMEOUT" "NP;LABELS;LIBRARIES;ENVIRONMENT;ARGUMENTS")
  foreach(extra IN LISTS arg_UNPARSED_ARGUMENTS)
    if(NOT extra MATCHES "\\.cpp$")
      message(FATAL_ERROR "annulus_test(${source}): unknown argument ${extra}")
    endif()
  endforeach()
  if(NOT source MATCHES "_test\\.cpp$")
    message(FATAL_ERROR "annulus_test(${source}): a test's file ends in _test.cpp")
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 60) # a wrong ring hangs rather than fails
  endif()

  cmake_path(RELATIVE_PATH CMAKE_CURRENT_SOURCE_DIR BASE_DIRECTORY ${PROJECT_SOURCE_DIR}/tests OUTPUT_VARIABLE room)
  string(REGEX REPLACE "_test\\.cpp$" "" name ${room}/${source})
  string(MAKE_C_IDENTIFIER test_${name} target)
  add_executable(${target} ${source} ${arg_UNPARSED_ARGUMENTS})
  set(support annulus_unit_test_support)
  if(arg_NP)
    set(support annulus_test_support)
  endif()
  target_link_libraries(${target} PRIVATE ${support} annulus_warnings ${arg_LIBRARIES})
  set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)

  set(tests "")
  foreach(np IN LISTS arg_NP)
    annulus_mpi_command(command ${np} $<TARGET_FILE:${target}> ${arg_ARGUMENTS})
    add_test(NAME ${name}.np${np} COMMAND ${command})
    set_tests_properties(${name}.np${np} PROPERTIES PROCESSORS ${np} LABELS "mpi;np${np};${arg_LABELS}")
    list(APPEND tests ${name}.np${np})
  endforeach()
  if(NOT arg_NP)
    add_test(NAME ${name} COMMAND ${target} ${arg_ARGUMENTS})
    set_tests_properties(${name} PROPERTIES LABELS "unit;${arg_LABELS}")
    list(APPEND tests ${name})
  endif()
  set_tests_properties(${tests} PROPERTIES TIMEOUT ${arg_TIMEOUT}
                                           ENVIRONMENT "${ANNULUS_TEST_ENVIRONMENT};${arg_ENVIRONMENT}")
endfunction()

# annulus_gpu_test(<as annulus_test>): labelled gpu, one at a time; skipped where there is no GPU (tests/support/gpu_main.cpp).
function(annulus_gpu_test source)
  annulus_test(${source} ${PROJECT_SOURCE_DIR}/tests/support/gpu_main.cpp ${ARGN} LABELS gpu)
  cmake_path(RELATIVE_PATH CMAKE_CURRENT_SOURCE_DIR BASE_DIRECTORY ${PROJECT_SOURCE_DIR}/tests OUTPUT_VARIABLE room)
  string(REGEX REPLACE "_test\\.cpp$" "" name ${room}/${source})
  set_tests_properties(${name} PROPERTIES SKIP_RETURN_CODE 77 RESOURCE_LOCK gpu)
endfunction()
