#include "kernels/kernel_table.h"

#include <gtest/gtest.h>

#include <string>

#include "base/error.h"

namespace quire {
namespace {

TEST(KernelTable, HasNoEmptyEntries) {
  for (const KernelTable* table : all_tables()) {
    SCOPED_TRACE(table->name);
    EXPECT_NE(table->pack_weight, nullptr);
    EXPECT_NE(table->gemm, nullptr);
    EXPECT_NE(table->lora_add, nullptr);
    EXPECT_NE(table->rms_norm, nullptr);
    EXPECT_NE(table->layer_norm, nullptr);
    EXPECT_NE(table->gated_activation, nullptr);
    EXPECT_NE(table->activation, nullptr);
    EXPECT_NE(table->add, nullptr);
    EXPECT_NE(table->softcap, nullptr);
    EXPECT_NE(table->embedding, nullptr);
    EXPECT_NE(table->gather_rows, nullptr);
    EXPECT_NE(table->rope, nullptr);
    EXPECT_NE(table->kv_cache_write, nullptr);
    EXPECT_NE(table->paged_attention, nullptr);
    EXPECT_NE(table->sample, nullptr);
    EXPECT_NE(table->logprobs, nullptr);
    EXPECT_NE(table->adjust_logits, nullptr);
    // The list above names every entry: name, device, type of activations, one pointer per kernel,
    // and the six that only some backends have.
    EXPECT_EQ(sizeof(KernelTable), 26 * sizeof(void*));
  }
}

TEST(KernelTable, ReferenceComesFirstAndAutoIsTheFastest) {
  ASSERT_FALSE(all_tables().empty());
  EXPECT_STREQ(all_tables().front()->name, "reference");
  EXPECT_EQ(&kernels_for("auto"), all_tables().back());
  for (const KernelTable* table : all_tables()) EXPECT_EQ(&kernels_for(table->name), table);
}

TEST(KernelTable, UnknownIsaNamesThoseAvailable) {
  try {
    kernels_for("avx1024");
    FAIL() << "accepted avx1024";
  } catch (const LoadError& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find("avx1024"), std::string::npos);
    for (const KernelTable* table : all_tables()) {
      EXPECT_NE(message.find(table->name), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace quire
