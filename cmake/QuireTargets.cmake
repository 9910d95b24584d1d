# Helpers that declare a layer's library and its tests.

# The public headers in include/quire: no sources, no dependencies.
function(quire_api_library)
  add_library(quire_api INTERFACE)
  set_target_properties(quire_api PROPERTIES EXPORT_NAME api)
  target_include_directories(quire_api INTERFACE $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
                                                 $<INSTALL_INTERFACE:include>)
endfunction()

# quire_library(<layer> SOURCES a.cc ... DEPS layer ... LINK external ...)
# DEPS are layers, named without the prefix; LINK are external targets.
function(quire_library layer)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS;LINK" ${ARGN})
  add_library(quire_${layer} STATIC ${ARG_SOURCES})
  target_include_directories(quire_${layer} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/src>)
  set_target_properties(quire_${layer} PROPERTIES EXPORT_NAME ${layer})
  list(TRANSFORM ARG_DEPS PREPEND quire_)
  target_link_libraries(quire_${layer} PUBLIC ${ARG_DEPS} ${ARG_LINK} Threads::Threads)
endfunction()

# quire_test(<name> [SERIAL] SOURCES x_test.cc ... DEPS layer ... LINK external ...)
# Each GoogleTest case becomes one CTest case; those of a SERIAL test measure time and run beside no other.
function(quire_test name)
  if(NOT QUIRE_TESTS)
    return()
  endif()
  cmake_parse_arguments(ARG "SERIAL" "TIMEOUT" "SOURCES;DEPS;LINK" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  list(TRANSFORM ARG_DEPS PREPEND quire_)
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests)
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} ${ARG_LINK} GTest::gmock GTest::gtest GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE QUIRE_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  include(GoogleTest)
  gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST PROPERTIES TIMEOUT ${ARG_TIMEOUT}
                                                                  RUN_SERIAL ${ARG_SERIAL})
endfunction()
