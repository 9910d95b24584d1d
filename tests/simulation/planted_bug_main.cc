// Linked with a mutated copy of one production source.  Succeeds if the simulation notices.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>

#include "simulation/simulation.h"

namespace {

constexpr uint64_t kNumSeeds = 200;
constexpr int kNumStepsPerSeed = 500;
constexpr unsigned kTimeLimitSeconds = 120;  // a bug may also be a loop without end

// Exit status 0 if nothing was noticed.
int run_simulations() {
  for (uint64_t seed = 0; seed < kNumSeeds; ++seed) {
    const quire::simulation::SimulationResult result =
        quire::simulation::run_simulation(seed, kNumStepsPerSeed);
    if (!result.violation.empty()) {
      std::puts(result.violation.c_str());
      return 1;
    }
  }
  return 0;
}

}  // namespace

int main() {
  // In a child, because a bug may also be found by a CHECK, which aborts.
  const pid_t child = fork();
  if (child == 0) {
    alarm(kTimeLimitSeconds);
    const int status = run_simulations();
    std::fflush(stdout);
    _exit(status);
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child) {
    return 2;
  }
  const bool survived = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  std::puts(survived ? "the planted bug was not found" : "the planted bug was found");
  return survived ? 1 : 0;
}
