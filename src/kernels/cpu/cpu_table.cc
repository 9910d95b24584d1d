#include <array>
#include <string>

#include "base/error.h"
#include "kernels/cpu/cpu_features.h"
#include "kernels/cpu/tables.h"
#include "kernels/reference/reference.h"

namespace quire {
namespace {

struct TableList {
  std::array<const KernelTable*, 4> tables{};
  size_t size = 0;
};

// A new ISA is one row here, from the slowest to the fastest.
TableList make_tables() {
  const CpuFeatures features = detect_cpu_features();
  TableList list;
  list.tables[list.size++] = &reference::table();
  if (features.avx2) list.tables[list.size++] = &avx2_table();
  if (features.avx512) list.tables[list.size++] = &avx512_table();
  if (features.amx) list.tables[list.size++] = &amx_table();
  return list;
}

}  // namespace

std::span<const KernelTable* const> all_tables() {
  static const TableList kList = make_tables();
  return {kList.tables.data(), kList.size};
}

const KernelTable& kernels_for(std::string_view isa) {
  const auto tables = all_tables();
  if (isa == "auto") return *tables.back();
  std::string known = "auto";
  for (const KernelTable* table : tables) {
    if (isa == table->name) return *table;
    known += std::string(", ") + table->name;
  }
  throw LoadError("--cpu-isa " + std::string(isa) + " is not available; this machine can run " +
                  known);
}

}  // namespace quire
