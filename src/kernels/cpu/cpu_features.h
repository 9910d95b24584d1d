// What this processor and operating system can run.
#pragma once

namespace quire {

struct CpuFeatures {
  bool avx2 = false;    // AVX2, FMA and F16C
  bool avx512 = false;  // AVX-512 F, BW, VL, DQ, VNNI and BF16
  bool amx = false;     // avx512, AMX-TILE and AMX-BF16, granted to this process
};

// Asks CPUID, XGETBV and, for AMX, the kernel (which then grants tile state to the whole process).
CpuFeatures detect_cpu_features();

}  // namespace quire
