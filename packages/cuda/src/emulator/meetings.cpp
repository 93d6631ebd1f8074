// Where threads meet: block barriers, and what the lanes of a warp do together. No lane knows
// anything of another but through these: between two meetings lanes run apart.
#include <cstring>

#include "scheduler.hpp"

namespace emulator {

namespace {

const char* const kMeetingNames[] = {"nothing", "a barrier", "a shuffle", "a vote", "an mma"};

// Those who wait, and `last`, which came last, if there is one.
void share_in_gate(const Gate& gate, Fiber* last) {
  if (!kChecking) return;
  std::vector<Fiber*> all;
  if (last != nullptr) all.push_back(last);
  for (Fiber* f = gate.waiters; f != nullptr; f = f->next) all.push_back(f);
  share_all(all.data(), static_cast<u32>(all.size()));
}

void share_in_warp(u32 block, u32 warp, u32 lanes) {
  if (!kChecking) return;
  Fiber* all[32];
  u32 count = 0;
  for (u32 l = 0; l < 32; l++) {
    if (lanes >> l & 1u) all[count++] = &fiber_at(block, warp * 32 + l);
  }
  share_all(all, count);
}

void wait_at(Gate& gate, u32 expected, const char* what) {
  if (gate.arrived > 0 && gate.expected != expected) {
    fault("%s for %u threads while others wait for %u", what, expected, gate.expected);
  }
  gate.expected = expected;
  gate.arrived++;
  if (gate.arrived < expected) {
    wait_in(gate.waiters);
    return;
  }
  gate.arrived = 0;
  share_in_gate(gate, running());
  wake_all(gate.waiters);
  maybe_switch();
}

float f32_of(u32 bits) {
  float f;
  std::memcpy(&f, &bits, 4);
  return f;
}
float low_half(u32 word) { return f32_of(word << 16); }
float high_half(u32 word) { return f32_of(word & 0xffff0000u); }

// Fragments as the PTX manual lays them out (mma.m16n8k16, .bf16): lane 4 g + q holds of A rows g
// and g + 8, columns 2 q, 2 q + 1 and 8 more; of B (k x n) the same k of column g; of D rows g and
// g + 8, columns 2 q and 2 q + 1.
void multiply(Lane* lanes) {
  float a[16][16], b[8][16];
  for (u32 l = 0; l < 32; l++) {
    const u32 g = l / 4, q = l % 4;
    for (u32 half = 0; half < 2; half++) {
      const u32 k = 2 * q + 8 * half;
      a[g][k] = low_half(lanes[l].a[2 * half]);
      a[g][k + 1] = high_half(lanes[l].a[2 * half]);
      a[g + 8][k] = low_half(lanes[l].a[2 * half + 1]);
      a[g + 8][k + 1] = high_half(lanes[l].a[2 * half + 1]);
      b[g][k] = low_half(lanes[l].b[half]);
      b[g][k + 1] = high_half(lanes[l].b[half]);
    }
  }
  for (u32 n = 0; n < 8; n++) {
    // A column of zeros adds nothing, but where A holds infinities or NaN.
    bool zeros = true;
    for (u32 l = 4 * n; l < 4 * n + 4; l++) zeros = zeros && (lanes[l].b[0] | lanes[l].b[1]) == 0;
    for (u32 m = 0; m < 16; m++) {
      double sum = 0;
      if (zeros) {
        for (u32 k = 0; k < 16; k++) sum += a[m][k] - a[m][k];
      } else {
        for (u32 k = 0; k < 16; k++) sum += static_cast<double>(a[m][k]) * b[n][k];
      }
      float& d = lanes[4 * (m % 8) + n / 2].d[2 * (m / 8) + n % 2];
      d = static_cast<float>(d + sum);
    }
  }
}

void complete(const Fiber& last, Warp& warp) {
  switch (warp.meeting) {
    case Meeting::barrier:  // the only meeting that orders memory
      share_in_warp(last.block, last.thread / 32, warp.present);
      break;
    case Meeting::multiply:
      if (warp.present != 0xffffffffu) fault("an mma with lanes %08x only", warp.present);
      multiply(warp.lanes);
      break;
    case Meeting::shuffle: {
      u64 sent[32];
      for (u32 l = 0; l < 32; l++) {
        const u32 from = l ^ warp.lanes[l].mask;
        if ((warp.present >> l & 1u) == 0) continue;
        if (from > 31 || (warp.present >> from & 1u) == 0) {
          fault("lane %u shuffles with lane %u, which is gone", l, from);
        }
        sent[l] = warp.lanes[from].word;
      }
      for (u32 l = 0; l < 32; l++) warp.lanes[l].word = sent[l];
      break;
    }
    case Meeting::vote: {
      bool all = true;
      for (u32 l = 0; l < 32; l++) {
        if (warp.present >> l & 1u) all = all && warp.lanes[l].word != 0;
      }
      for (Lane& lane : warp.lanes) lane.word = all;
      break;
    }
    default:
      break;
  }
}

// Comes to a meeting with what `lane` holds; returns when all lanes have come.
Lane& meet(Meeting meeting, const Lane& mine) {
  Fiber& f = *running();
  Warp& warp = block_of(f).warps[f.thread / 32];
  const u32 bit = f.thread % 32;
  if (warp.present != 0 && warp.meeting != meeting) {
    fault("a lane is at %s while others of its warp are at %s",
          kMeetingNames[static_cast<u32>(meeting)], kMeetingNames[static_cast<u32>(warp.meeting)]);
  }
  warp.meeting = meeting;
  warp.present |= 1u << bit;
  warp.lanes[bit] = mine;
  f.polled = nullptr;
  if (warp.present != warp.alive) {
    wait_in(warp.waiters);
    return warp.lanes[bit];
  }
  complete(f, warp);
  warp.present = 0;
  wake_all(warp.waiters);
  maybe_switch();
  return warp.lanes[bit];
}

}  // namespace

void block_barrier() {
  Block& block = block_of(*running());
  wait_at(block.gates[0], block.alive, "a block barrier");
}

void group_barrier(u32 threads) {
  wait_at(block_of(*running()).gates[1], threads, "a group barrier");
}

void warp_barrier() { meet(Meeting::barrier, {}); }

u64 warp_shuffle(u64 word, u32 mask) {
  Lane mine = {};
  mine.word = word;
  mine.mask = mask;
  return meet(Meeting::shuffle, mine).word;
}

bool warp_all(bool vote) {
  Lane mine = {};
  mine.word = vote;
  return meet(Meeting::vote, mine).word != 0;
}

void warp_multiply(float* d, const u32* a, u32 b0, u32 b1) {
  Lane mine = {};
  std::memcpy(mine.a, a, sizeof mine.a);
  mine.b[0] = b0;
  mine.b[1] = b1;
  std::memcpy(mine.d, d, sizeof mine.d);
  std::memcpy(d, meet(Meeting::multiply, mine).d, sizeof mine.d);
}

void leave_meetings(Fiber& f) {
  Block& block = block_of(f);
  block.alive--;
  Gate& gate = block.gates[0];
  if (gate.arrived > 0) {
    gate.expected = block.alive;
    if (gate.arrived == block.alive) {
      gate.arrived = 0;
      share_in_gate(gate, nullptr);
      wake_all(gate.waiters);
    }
  }
  Warp& warp = block.warps[f.thread / 32];
  warp.alive &= ~(1u << f.thread % 32);
  if (warp.present != 0 && warp.present == warp.alive) {
    complete(f, warp);
    warp.present = 0;
    wake_all(warp.waiters);
  }
}

}  // namespace emulator
