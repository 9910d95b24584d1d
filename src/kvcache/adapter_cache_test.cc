#include "kvcache/adapter_cache.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

namespace quire {
namespace {

constexpr BlockOwner kGroup = {.kind = BlockOwnerKind::kKVCacheGroup, .index = 0};

AdapterExtent extent(uint64_t id, int num_blocks, int tail_pages = 0) {
  return {.id = id, .num_blocks = num_blocks, .tail_pages = tail_pages};
}

TEST(AdapterCache, KeepsAnIdleAdapterInPlaceUntilItsBlocksAreNeeded) {
  BlockPool pool(6);
  AdapterCache cache(pool);
  EXPECT_TRUE(cache.hold(extent(7, 3)));
  const auto place = cache.place(7);
  EXPECT_EQ(pool.num_free_blocks(), 2);
  EXPECT_EQ(cache.num_idle_blocks(), 0);
  cache.release(7);
  EXPECT_EQ(cache.num_idle_blocks(), 3);
  EXPECT_FALSE(cache.hold(extent(7, 3)));
  EXPECT_EQ(cache.place(7), place);
  cache.release(7);
  EXPECT_TRUE(cache.hold(extent(8, 4)));
  EXPECT_FALSE(cache.is_resident(7));
  EXPECT_EQ(cache.num_evictions(), 1);
}

TEST(AdapterCache, SmallAdaptersShareABlock) {
  BlockPool pool(4);
  AdapterCache cache(pool);
  cache.hold(extent(1, 0, 20));
  cache.hold(extent(2, 0, 12));
  cache.hold(extent(3, 1, 5));
  EXPECT_EQ(cache.num_blocks(), 3);
  EXPECT_EQ(cache.place(1)->block_ids, cache.place(2)->block_ids);
  EXPECT_EQ(cache.place(2)->tail_page, 20);
  EXPECT_NE(cache.place(3)->block_ids.back(), cache.place(1)->block_ids.back());
  cache.release(1);
  EXPECT_EQ(cache.num_idle_blocks(), 0) << "the other adapter of the block is in use";
  cache.release(2);
  EXPECT_EQ(cache.num_idle_blocks(), 1);
  cache.evict_idle();
  EXPECT_EQ(pool.num_free_blocks(), 1);
}

TEST(AdapterCache, AnIdleAdapterGoesBeforeAPrefixThatWasFreedWithIt) {
  BlockPool pool(5);
  AdapterCache cache(pool);
  cache.hold(extent(1, 2));
  const int32_t prefix = pool.allocate(kGroup);
  pool.cache(prefix, {.low = 1, .high = 1});
  pool.release(prefix);
  cache.release(1);
  cache.hold(extent(2, 3));
  EXPECT_FALSE(cache.is_resident(1));
  EXPECT_EQ(pool.find({.low = 1, .high = 1}, kGroup), prefix);
}

TEST(AdapterCache, APrefixThatIsOldEnoughGoesBeforeAnIdleAdapter) {
  BlockPool pool(4);
  AdapterCache cache(pool);
  for (uint64_t i = 0; i < 3; ++i) {  // prefixes that nobody comes back to
    const int32_t id = pool.allocate(kGroup);
    pool.cache(id, {.low = i, .high = 1});
    pool.release(id);
  }
  for (int i = 0; i < 40; ++i) {  // adapters that come and go age them
    cache.hold(extent(100 + static_cast<uint64_t>(i), 1));
    cache.release(100 + static_cast<uint64_t>(i));
  }
  cache.hold(extent(200, 1));
  cache.release(200);
  cache.hold(extent(201, 1));
  EXPECT_TRUE(cache.is_resident(200));
  EXPECT_EQ(pool.find({.low = 0, .high = 1}, kGroup), kNullBlockId);
}

TEST(AdapterCache, CountsUsersAndSaysWhoIsInPlace) {
  BlockPool pool(6);
  AdapterCache cache(pool);
  EXPECT_EQ(cache.num_blocks_to_hold(extent(1, 2, 3)), 3);
  cache.hold(extent(1, 2, 3));
  cache.hold(extent(1, 2, 3));
  cache.hold(extent(2, 0, 4));
  cache.release(2);
  EXPECT_EQ(cache.num_blocks_to_hold(extent(1, 2, 3)), 0);
  EXPECT_EQ(cache.num_blocks_to_hold(extent(2, 0, 4)), 1) << "idle: it may have to be loaded again";
  std::map<uint64_t, int> users;
  for (const AdapterCache::Resident& resident : cache.residents()) {
    users[resident.extent.id] = resident.num_users;
  }
  EXPECT_EQ(users, (std::map<uint64_t, int>{{1, 2}, {2, 0}}));
  cache.evict_idle();
  ASSERT_EQ(cache.residents().size(), 1U);
  EXPECT_EQ(cache.residents()[0].extent.tail_pages, 3);
}

TEST(AdapterCache, SaysOfEachBlockWhichStepMayHaveUsedItLast) {
  BlockPool pool(6);
  AdapterCache cache(pool);
  const auto last_steps = [&](uint64_t id) {
    const auto place = cache.place(id);
    EXPECT_EQ(place->last_steps.size(), place->block_ids.size());
    return std::multiset<int64_t>(place->last_steps.begin(), place->last_steps.end());
  };
  const int32_t prefix = pool.allocate(kGroup);
  pool.set_step(3);
  pool.release(prefix);
  cache.hold(extent(1, 2));
  EXPECT_EQ(last_steps(1), (std::multiset<int64_t>{0, 3})) << "the prefix's and a new one";
  pool.set_step(5);
  cache.release(1);
  pool.set_step(8);
  cache.hold(extent(2, 5));
  EXPECT_EQ(last_steps(2), (std::multiset<int64_t>{0, 0, 0, 5, 5})) << "idle since 5";
}

TEST(AdapterCache, AnAdapterThatGoesGivesItsPagesToTheNext) {
  BlockPool pool(2);
  AdapterCache cache(pool);
  cache.hold(extent(1, 0, 10));
  cache.hold(extent(2, 0, 10));
  cache.hold(extent(3, 0, 10));
  cache.release(2);
  EXPECT_EQ(cache.num_idle_blocks(), 0);
  cache.evict_idle();
  EXPECT_FALSE(cache.is_resident(2));
  EXPECT_EQ(cache.num_blocks(), 1) << "the block is in use";
  cache.hold(extent(4, 0, 10));
  EXPECT_EQ(cache.place(4)->tail_page, 10);
  EXPECT_EQ(cache.place(1)->tail_page, 0);
  EXPECT_EQ(cache.place(3)->tail_page, 20);
}

// What is held keeps its pages to itself, and the counts add up, whatever comes and goes.
TEST(AdapterCache, RandomUseKeepsTheInvariants) {
  std::mt19937 random(5);
  const auto draw = [&](int bound) { return static_cast<int>(random() % bound); };
  BlockPool pool(40);
  AdapterCache cache(pool);
  std::map<uint64_t, int> users;
  std::vector<int32_t> prefixes;
  std::vector<AdapterExtent> extents;
  for (uint64_t id = 0; id < 25; ++id) {
    extents.push_back(extent(id, draw(6), draw(kPagesPerBlock)));
    if (extents.back().num_blocks + extents.back().tail_pages == 0) extents.back().num_blocks = 1;
  }
  for (int step = 0; step < 5000; ++step) {
    const AdapterExtent& chosen = extents[static_cast<size_t>(draw(25))];
    const int64_t available = pool.num_free_blocks() + cache.num_idle_blocks();
    if (draw(2) == 0 && cache.num_blocks_to_hold(chosen) <= available) {
      const bool was_resident = cache.is_resident(chosen.id);
      EXPECT_EQ(cache.hold(chosen), !was_resident);
      ++users[chosen.id];
    } else if (users[chosen.id] > 0) {
      cache.release(chosen.id);
      --users[chosen.id];
    } else if (draw(2) == 0 && available > 0) {
      cache.make_room();
      prefixes.push_back(pool.allocate(kGroup));
    } else if (!prefixes.empty()) {
      pool.cache(prefixes.back(), {.low = static_cast<uint64_t>(step), .high = 3});
      pool.release(prefixes.back());
      prefixes.pop_back();
    }
    std::set<std::pair<int32_t, int>> pages;
    std::set<int32_t> blocks;
    std::set<int32_t> blocks_in_use;
    for (const AdapterExtent& e : extents) {
      if (users[e.id] > 0) ASSERT_TRUE(cache.is_resident(e.id));
      if (!cache.is_resident(e.id)) continue;
      const AdapterPlace& place = *cache.place(e.id);
      ASSERT_EQ(place.block_ids.size(), static_cast<size_t>(e.num_blocks + (e.tail_pages > 0)));
      for (size_t i = 0; i < place.block_ids.size(); ++i) {
        ASSERT_EQ(pool.block(place.block_ids[i]).owner.kind, BlockOwnerKind::kAdapter);
        blocks.insert(place.block_ids[i]);
        if (users[e.id] > 0) blocks_in_use.insert(place.block_ids[i]);
        const bool is_tail = static_cast<int>(i) == e.num_blocks;
        const int first = is_tail ? place.tail_page : 0;
        const int count = is_tail ? e.tail_pages : kPagesPerBlock;
        for (int page = first; page < first + count; ++page) {
          ASSERT_TRUE(pages.emplace(place.block_ids[i], page).second) << "a page has two owners";
        }
      }
    }
    ASSERT_EQ(cache.num_blocks(), std::ssize(blocks));
    ASSERT_EQ(cache.num_idle_blocks(), std::ssize(blocks) - std::ssize(blocks_in_use));
    ASSERT_EQ(pool.num_usable_blocks() - pool.num_free_blocks(),
              std::ssize(blocks) + std::ssize(prefixes));
  }
  for (const auto& [id, count] : users) {
    for (int i = 0; i < count; ++i) cache.release(id);
  }
  EXPECT_EQ(cache.num_idle_blocks(), cache.num_blocks());
  cache.evict_idle();
  EXPECT_EQ(cache.num_blocks(), 0);
  EXPECT_EQ(pool.num_usable_blocks() - pool.num_free_blocks(), std::ssize(prefixes));
}

}  // namespace
}  // namespace quire
