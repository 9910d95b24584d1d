# The CUDA backend: off by default; the preset `cuda` turns it on.  Needs nvcc 12.5 or newer.
option(QUIRE_CUDA "Build the CUDA backend" OFF)
set(QUIRE_CUDA_ARCHITECTURES "75;80;90" CACHE STRING
    "Processors whose machine code is built, oldest first; or one like 75-virtual: its PTX alone, to try it on a newer one")

if(QUIRE_CUDA)
  # Installed by tools/install_cuda.sh where there is no other.
  file(GLOB installed_cuda ${PROJECT_SOURCE_DIR}/build/cuda-toolkit/lib/python3*/site-packages/nvidia/cu13)
  find_program(QUIRE_NVCC nvcc PATH_SUFFIXES bin PATHS /usr/local/cuda ${installed_cuda} REQUIRED)
  set(CMAKE_CUDA_COMPILER ${QUIRE_NVCC})
  set(CMAKE_CUDA_HOST_COMPILER ${CMAKE_CXX_COMPILER})
  set(CMAKE_CUDA_ARCHITECTURES OFF)  # per file, below
  enable_language(CUDA)
  # CMake 3.25 knows the flag for g++ as the host compiler only.
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
  find_package(CUDAToolkit REQUIRED)
  if(CCACHE_PROGRAM)
    set(CMAKE_CUDA_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
  endif()
endif()

# Sets the code generation of CUDA sources: machine code of every wanted processor, and PTX of the
# oldest for those not listed.
function(quire_cuda_architectures)
  foreach(source ${ARGN})
    set(flags "")
    if(source MATCHES "_sm90a\\.cu$")
      set(flags "-gencode=arch=compute_90a,code=sm_90a")
    else()
      # PTX for processors that are not listed, of the oldest for fp16 and of 80 for bf16.
      list(GET QUIRE_CUDA_ARCHITECTURES 0 first)
      string(REPLACE "-virtual" "" oldest ${first})
      set(ptx ${oldest})
      if(first STREQUAL oldest)
        foreach(arch ${QUIRE_CUDA_ARCHITECTURES})
          string(APPEND flags " -gencode=arch=compute_${arch},code=sm_${arch}")
        endforeach()
        if(oldest LESS 80)
          list(APPEND ptx 80)
        endif()
      endif()
      foreach(arch ${ptx})
        string(APPEND flags " -gencode=arch=compute_${arch},code=compute_${arch}")
      endforeach()
    endif()
    separate_arguments(flags)
    set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${flags}")
  endforeach()
endfunction()
