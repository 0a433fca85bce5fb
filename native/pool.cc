#include "pool.h"

#include <algorithm>
#include <utility>

namespace crafter {
namespace {

// A worker looks for the next batch this often before it sleeps: some 20 microseconds, about what waking takes.
constexpr int kSpins = 400;
// The caller looks for the end of a batch for some 100 microseconds before it lets other threads have its core.
constexpr int kPatience = 2000;

void relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

}  // namespace

uint64_t Pool::pack(const Ticket& ticket) {
  return static_cast<uint64_t>(ticket.batch) << 32 | static_cast<uint64_t>(ticket.next) << 16 | ticket.units;
}

Pool::Ticket Pool::unpack(uint64_t word) {
  return {static_cast<uint32_t>(word >> 32), static_cast<uint16_t>(word >> 16), static_cast<uint16_t>(word)};
}

Pool::Pool(int threads, std::function<bool()> idle, std::function<bool()> has_idle)
    : threads_(threads), idle_(std::move(idle)), has_idle_(std::move(has_idle)) {
  try {
    for (int i = 1; i < threads; ++i) start(true);
  } catch (...) {
    stop();
    throw;
  }
}

Pool::~Pool() { stop(); }

void Pool::stop() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void Pool::start(bool takes_batches) {
  workers_.emplace_back([this, takes_batches] { live(takes_batches); });
}

void Pool::add_background() {
  if (background_) return;
  start(false);
  background_ = true;
}

void Pool::run(int count, const std::function<void(int)>& work) {
  work_ = &work;
  count_ = count;
  grain_ = std::max(1, count / (threads_ * 16));
  const int units = (count + grain_ - 1) / grain_;
  unfinished_.store(units, std::memory_order_relaxed);
  const Ticket last = unpack(ticket_.load(std::memory_order_relaxed));
  ticket_.store(pack({last.batch + 1, 0, static_cast<uint16_t>(units)}));
  if (units > 1) wake();
  share();
  for (int looks = 0; unfinished_.load(std::memory_order_acquire) > 0; ++looks) {
    if (looks < kPatience) {
      relax();
    } else {
      std::this_thread::yield();
    }
  }
}

void Pool::wake() {
  // A worker that is about to sleep has said so before it looked for the last time.
  if (sleeping_.load() == 0) return;
  const std::lock_guard<std::mutex> lock(mutex_);
  changed_.notify_all();
}

bool Pool::has_batch() const {
  const Ticket ticket = unpack(ticket_.load());
  return ticket.next < ticket.units;
}

bool Pool::share() {
  bool shared = false;
  uint64_t seen = ticket_.load(std::memory_order_acquire);
  for (Ticket ticket = unpack(seen); ticket.next < ticket.units; ticket = unpack(seen)) {
    Ticket taken = ticket;
    ++taken.next;
    // Succeeds only for the batch that was seen, which then can't end before this unit does.
    if (!ticket_.compare_exchange_weak(seen, pack(taken), std::memory_order_acq_rel, std::memory_order_acquire)) {
      continue;
    }
    const int first = ticket.next * grain_;
    const int last = std::min(first + grain_, count_);
    for (int i = first; i < last; ++i) (*work_)(i);
    shared = true;
    unfinished_.fetch_sub(1, std::memory_order_release);
    seen = ticket_.load(std::memory_order_acquire);
  }
  return shared;
}

void Pool::live(bool takes_batches) {
  int looks = 0;
  while (!stopping_.load(std::memory_order_relaxed)) {
    if ((takes_batches && share()) || idle_()) {
      looks = 0;
      continue;
    }
    if (++looks < kSpins) {
      relax();
      continue;
    }
    looks = 0;
    std::unique_lock<std::mutex> lock(mutex_);
    ++sleeping_;
    changed_.wait(lock, [&] { return stopping_ || (takes_batches && has_batch()) || has_idle_(); });
    --sleeping_;
  }
}

}  // namespace crafter
