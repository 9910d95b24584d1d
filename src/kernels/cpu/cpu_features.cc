#include "kernels/cpu/cpu_features.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

namespace quire {
namespace {

struct Registers {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers cpuid(uint32_t leaf, uint32_t subleaf) {
  Registers r;
  if (__get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx) == 0) return {};
  return r;
}

constexpr bool bit(uint32_t value, int index) { return ((value >> index) & 1U) != 0; }

// The register state that the operating system saves, XCR0.
uint32_t enabled_state() {
  uint32_t eax = 0;
  uint32_t edx = 0;
  __asm__("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
  return eax;
}

// Source: Linux Documentation/arch/x86/xstate.rst.
bool request_tile_data() {
  constexpr int kArchRequestXcompPerm = 0x1023;
  constexpr int kXfeatureTileData = 18;
  return syscall(SYS_arch_prctl, kArchRequestXcompPerm, kXfeatureTileData) == 0;
}

}  // namespace

// Bit numbers: Intel SDM volume 2A, CPUID; XCR0: volume 1, section 13.1.
CpuFeatures detect_cpu_features() {
  constexpr uint32_t kYmmState = 0x6;
  constexpr uint32_t kZmmState = 0xe6;
  constexpr uint32_t kTileState = 0x60000;
  const Registers leaf1 = cpuid(1, 0);
  const Registers leaf7 = cpuid(7, 0);
  const Registers leaf7_1 = cpuid(7, 1);
  const bool osxsave = bit(leaf1.ecx, 27);
  const uint32_t state = osxsave ? enabled_state() : 0;

  CpuFeatures features;
  const bool fma = bit(leaf1.ecx, 12);
  const bool f16c = bit(leaf1.ecx, 29);
  features.avx2 = (state & kYmmState) == kYmmState && fma && f16c && bit(leaf7.ebx, 5);
  const bool f_dq_bw_vl =
      bit(leaf7.ebx, 16) && bit(leaf7.ebx, 17) && bit(leaf7.ebx, 30) && bit(leaf7.ebx, 31);
  const bool vnni = bit(leaf7.ecx, 11);
  const bool bf16 = bit(leaf7_1.eax, 5);
  features.avx512 = features.avx2 && (state & kZmmState) == kZmmState && f_dq_bw_vl && vnni && bf16;
  const bool amx_bf16 = bit(leaf7.edx, 22) && bit(leaf7.edx, 24);
  features.amx =
      features.avx512 && amx_bf16 && (state & kTileState) == kTileState && request_tile_data();
  return features;
}

}  // namespace quire
