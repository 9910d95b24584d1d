#include "text/bpe.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "base/error.h"

namespace quire {
namespace {

// A vocabulary of random merges over a few letters.
struct RandomModel {
  Vocab vocab;
  BpeMerges merges;
};

RandomModel make_model(uint32_t seed) {
  std::mt19937 random(seed);
  RandomModel model;
  for (int32_t i = 0; i < 4; ++i) model.vocab.add(std::string(1, static_cast<char>('a' + i)), i);
  while (model.merges.size() < 40) {
    const auto left = static_cast<int32_t>(random() % static_cast<uint32_t>(model.vocab.size()));
    const auto right = static_cast<int32_t>(random() % static_cast<uint32_t>(model.vocab.size()));
    const std::string merged = model.vocab.token(left) + model.vocab.token(right);
    if (model.vocab.find(merged) >= 0) continue;
    model.vocab.add(merged, model.vocab.size());
    model.merges.emplace_back(left, right);
  }
  return model;
}

// The definition: the best-ranked pair, leftmost first, until there is none.
std::vector<int32_t> merge_naively(const RandomModel& model, const std::string& text) {
  std::vector<int32_t> ids;
  for (const char c : text) ids.push_back(c - 'a');
  while (true) {
    size_t best_rank = model.merges.size();
    size_t best_at = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      for (size_t rank = 0; rank < best_rank; ++rank) {
        if (model.merges[rank] != std::pair(ids[i], ids[i + 1])) continue;
        best_rank = rank;
        best_at = i;
      }
    }
    if (best_rank == model.merges.size()) return ids;
    ids[best_at] = 4 + static_cast<int32_t>(best_rank);
    ids.erase(ids.begin() + static_cast<ptrdiff_t>(best_at) + 1);
  }
}

TEST(Bpe, MergesShortAndLongPiecesAsDefined) {
  for (uint32_t seed = 0; seed < 20; ++seed) {
    const RandomModel model = make_model(seed);
    const Bpe bpe(model.vocab, model.merges, {});
    std::mt19937 random(seed);
    for (const size_t length : {1, 2, 5, 23, 24, 25, 40, 150}) {
      std::string text;
      for (size_t i = 0; i < length; ++i) text += static_cast<char>('a' + random() % 4);
      std::vector<int32_t> ids;
      bpe.tokenize(text, ids);
      EXPECT_EQ(ids, merge_naively(model, text)) << text;
    }
  }
}

TEST(Bpe, TakesLongPiecesInReasonableTime) {
  const RandomModel model = make_model(1);
  const Bpe bpe(model.vocab, model.merges, {});
  std::vector<int32_t> ids;
  bpe.tokenize(std::string(1 << 20, 'a'), ids);  // quadratic merging would take hours
  std::string joined;
  for (const int32_t id : ids) joined += model.vocab.token(id);
  EXPECT_EQ(joined.size(), size_t{1} << 20);
}

TEST(Bpe, FallsBackToBytesOrUnknown) {
  Vocab vocab;
  vocab.add("<unk>", 0);
  vocab.add("a", 1);
  vocab.add("<0xC3>", 2);
  vocab.add("<0xA9>", 3);
  BpeOptions options;
  options.unk_token = "<unk>";
  options.byte_fallback = true;
  std::vector<int32_t> ids;
  Bpe(vocab, {}, options).tokenize("aé\u4E16\u754Ca", ids);
  EXPECT_EQ(ids, (std::vector<int32_t>{1, 2, 3, 0, 0, 1}));
  ids.clear();
  options.fuse_unk = true;
  Bpe(vocab, {}, options).tokenize("aé\u4E16\u754Ca", ids);
  EXPECT_EQ(ids, (std::vector<int32_t>{1, 2, 3, 0, 1}));
  options.unk_token = "<nothing>";
  EXPECT_THROW(Bpe(vocab, {}, options), LoadError);
}

}  // namespace
}  // namespace quire
