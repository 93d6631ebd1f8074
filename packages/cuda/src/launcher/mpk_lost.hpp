// A GPU that no longer answers: told from one that is slow, and left alone from then on.
#ifndef MPK_LOST_HPP
#define MPK_LOST_HPP

#include <chrono>
#include <thread>

#include "mpk_load.hpp"

namespace mpk {

// True once nothing has changed for too long. Before its first step a kernel may have to queue.
class Standstill {
 public:
  Standstill(const u32* control, u64 mostMillis) : control_(control), mostMillis_(mostMillis) {}

  bool operator()() {
    const u32 steps = loadAcquire(control_ + kControlSteps);
    const u32 status = loadAcquire(control_ + kControlStatus);
    const auto now = std::chrono::steady_clock::now();
    if (steps != steps_ || status != status_ || (steps == 0 && status == 0)) {
      steps_ = steps;
      status_ = status;
      since_ = now;
      return false;
    }
    return now - since_ > std::chrono::milliseconds(mostMillis_);
  }

 private:
  const u32* control_;
  u64 mostMillis_;
  u32 steps_ = 0, status_ = 0;
  std::chrono::steady_clock::time_point since_ = std::chrono::steady_clock::now();
};

// Time after which a kernel that has begun is lost. Its own watchdog comes first, however long it waits.
inline u64 lostMillisOf(const Model& model, const mpk_options& options) {
  if (options.lost_millis != 0) return options.lost_millis;
  const u64 watchdogMillis = options.watchdog_nanos / 1000000;
  return std::max(model.lostMillis, watchdogMillis > ~0ull / 4 ? ~0ull / 2 : 2 * watchdogMillis + 2000);
}

// What to tell; `report` is the kernel's own, if there is one, for some SM never came back from its wait.
inline Failure lostFailure(const u32* control, u64 mostMillis, const std::string& report) {
  return {MPK_ERROR_LOST,
          (report.empty() ? "" : report + "; then ") + "the GPU stopped answering: " +
              std::to_string(loadAcquire(control + kControlSteps)) + " steps are done and for " +
              std::to_string(mostMillis) +
              " ms nothing has come, not even the end of the kernel; end this process, which frees the "
              "GPU; if it happens again look for Xid in the system's log"};
}

}  // namespace mpk

#endif
