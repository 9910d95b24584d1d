add_library(planted_bug_main OBJECT planted_bug_main.cc)
target_link_libraries(planted_bug_main PRIVATE quire_simulation)

# planted_bug(<name> <source below src/> <text that occurs once> <text that replaces it>)
function(planted_bug name source from to)
  set(path ${PROJECT_SOURCE_DIR}/src/${source})
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${path})
  file(READ ${path} text)
  string(FIND "${text}" "${from}" first)
  string(FIND "${text}" "${from}" last REVERSE)
  if(first EQUAL -1 OR NOT first EQUAL last)
    message(FATAL_ERROR "planted bug ${name}: its text must occur exactly once in ${source}")
  endif()
  string(REPLACE "${from}" "${to}" mutated "${text}")
  set(mutated_path ${CMAKE_CURRENT_BINARY_DIR}/${name}.cc)
  file(CONFIGURE OUTPUT ${mutated_path} CONTENT "${mutated}" @ONLY)
  add_executable(planted_bug_${name} ${mutated_path})
  target_compile_options(planted_bug_${name} PRIVATE -w)
  target_link_libraries(planted_bug_${name} PRIVATE planted_bug_main quire_simulation)
  add_test(NAME planted_bug.${name} COMMAND planted_bug_${name})
  set_tests_properties(planted_bug.${name} PROPERTIES TIMEOUT 180)
endfunction()

planted_bug(tenants_share_blocks kvcache/block_hash.cc
            "hash.update(identity.cache_salt.data(), identity.cache_salt.size());" "")
planted_bug(hashes_are_not_chained kvcache/block_hash.cc
            "hash.update(&parent, sizeof(parent));" "")
planted_bug(reused_block_keeps_its_hash kvcache/block_pool.cc
            "if (block.is_cached) {" "if (block.is_cached && block_id % 8 != 0) {")
planted_bug(found_block_stays_on_free_list kvcache/block_pool.cc
            "if (block.ref_count == 0) {\n    unlink_free(block_id);" "if (false) {")
planted_bug(freed_while_shared kvcache/block_pool.cc
            "if (--block.ref_count == 0) {" "if (--block.ref_count <= 1) {")
planted_bug(window_frees_a_token_early kvcache/kv_cache_manager.cc
            "num_computed_tokens - sliding_window + 1;" "num_computed_tokens - sliding_window + 2;")
planted_bug(window_hit_is_too_short kvcache/kv_cache_manager.cc
            "return ceil_div(sliding_window - 1, block_size);" "return (sliding_window - 1) / block_size;")
planted_bug(groups_need_not_agree kvcache/kv_cache_manager.cc
            "num_agreed = num_found == num_blocks ? num_agreed + 1 : 1;" "++num_agreed;")
planted_bug(cached_before_full kvcache/kv_cache_manager.cc
            "std::min(num_computed_tokens, static_cast<int>(token_ids.size()))"
            "std::min(table.num_blocks() * spec_.block_size, static_cast<int>(token_ids.size()))")
planted_bug(last_prompt_token_is_cached kvcache/kv_cache_manager.cc
            "(static_cast<int>(token_ids.size()) - 1) / spec_.block_size"
            "static_cast<int>(token_ids.size()) / spec_.block_size")
planted_bug(first_block_is_leaked kvcache/kv_cache_manager.cc
            "for (int i = table.num_blocks() - 1; i >= 0; --i)"
            "for (int i = table.num_blocks() - 1; i > 0; --i)")
planted_bug(resumed_without_output scheduler/scheduler.cc
            ".output_token_ids = {output_begin, request.token_ids.end()}" ".output_token_ids = {}")
planted_bug(token_in_flight_is_lost scheduler/scheduler.cc
            "request.token_ids.push_back(output.sampled_token_ids[0]);"
            "if (request.status != RequestStatus::kPreempted) request.token_ids.push_back(output.sampled_token_ids[0]);")
planted_bug(computes_beyond_the_end scheduler/scheduler.cc
            "if (request.num_tokens() >= request.max_num_tokens) {"
            "if (request.num_known_tokens() >= request.max_num_tokens) {")
planted_bug(prompt_logprobs_twice scheduler/scheduler.cc
            "output.prompt_logprobs.begin() + num_skipped," "output.prompt_logprobs.begin(),")
planted_bug(cap_of_preemptions_ignored scheduler/scheduler.cc
            "return request.num_preemptions < config_.max_preemptions;" "return true;")
planted_bug(priority_ignored scheduler/scheduler.cc
            "if (policy == SchedulingPolicy::kFcfs) {" "if (policy <= SchedulingPolicy::kPriority) {")
planted_bug(min_tokens_off_by_one scheduler/stop_check.cc
            "request.num_output_tokens() >= params.min_tokens" "request.num_output_tokens() > params.min_tokens")

# Of adapters.
planted_bug(adapters_share_blocks kvcache/block_hash.cc
            "hash.update(&identity.adapter_content, sizeof(identity.adapter_content));" "")
planted_bug(generations_share_blocks kvcache/block_hash.cc
            "hash.update(&identity.adapter_content, sizeof(identity.adapter_content));"
            "hash.update(&identity.adapter_content.low, sizeof(identity.adapter_content.low));")
planted_bug(start_of_adapter_is_left_out kvcache/block_hash.cc "first_token};" "0};")
planted_bug(adapter_starts_a_block_late kvcache/kv_cache_manager.cc
            "hashes.size() == static_cast<size_t>(table.adapter_first_token) / block_size"
            "hashes.size() == (static_cast<size_t>(table.adapter_first_token) + block_size - 1) / block_size")
planted_bug(no_room_is_left_for_adapter kvcache/kv_cache_manager.cc
            "num_free_hit_blocks - admission.num_adapter_blocks;" "num_free_hit_blocks;")
planted_bug(pages_are_leaked kvcache/adapter_cache.cc
            "shared->second.used_pages &= ~page_mask(entry.place->tail_page, entry.extent.tail_pages);" "")
planted_bug(pages_overlap kvcache/adapter_cache.cc
            "if ((used & page_mask(first, count)) == 0)" "if ((used & page_mask(first, 1)) == 0)")
planted_bug(sometimes_not_loaded kvcache/adapter_cache.cc
            "++num_loads_;\n  return true;" "++num_loads_;\n  return num_loads_ % 64 != 0;")
planted_bug(adapter_in_use_stays_idle kvcache/adapter_cache.cc
            "if (found->second.num_users++ == 0) set_idle(found->second, false);" "++found->second.num_users;")
planted_bug(block_in_use_counts_as_idle kvcache/adapter_cache.cc
            "if (shared.num_held == (idle ? 0 : 1)) num_idle_blocks_ += sign;" "num_idle_blocks_ += sign;")
planted_bug(idle_adapter_needs_no_blocks kvcache/adapter_cache.cc
            "found != entries_.end() && found->second.num_users > 0" "found != entries_.end()")
planted_bug(resumed_request_keeps_its_adapter scheduler/scheduler.cc
            "kv_cache_manager_.adapters().release(adapter->extent.id);"
            "if (request.num_preemptions == 0) kv_cache_manager_.adapters().release(adapter->extent.id);")
planted_bug(resumed_without_its_adapter scheduler/scheduler.cc
            "const bool must_load = adapters.hold(adapter->extent);"
            "const bool must_load = (request.num_preemptions == 0 || !adapters.is_resident(adapter->extent.id)) && adapters.hold(adapter->extent);")
planted_bug(resumed_without_a_load scheduler/scheduler.cc
            "if (must_load) {" "if (must_load && request.num_preemptions == 0) {")
planted_bug(max_loras_off_by_one scheduler/scheduler.cc
            "adapters.num_held() < config_.max_loras ||" "adapters.num_held() <= config_.max_loras ||")
planted_bug(passed_without_end scheduler/scheduler.cc
            "is_ready || first.num_passed >= kMaxPassed" "is_ready")

# Of what may be overwritten while a step runs.
planted_bug(freed_blocks_count_as_long_unused kvcache/block_pool.cc "block.last_step = last_step;" "")
planted_bug(step_is_told_a_step_late scheduler/scheduler.cc
            "kv_cache_manager_.set_step(step.step_id);" "kv_cache_manager_.set_step(step.step_id - 1);")
planted_bug(idle_adapters_count_as_long_unused kvcache/adapter_cache.cc
            "entry.last_step = pool_.step();" "")

# The control: the same program with nothing planted must find nothing.
add_executable(planted_bug_none)
target_link_libraries(planted_bug_none PRIVATE planted_bug_main quire_simulation)
add_test(NAME planted_bug.none COMMAND planted_bug_none)
set_tests_properties(planted_bug.none PROPERTIES TIMEOUT 180 WILL_FAIL TRUE)
