// Rings between exactly one writing and one reading thread. Neither side ever waits, locks or allocates.
//
// Who writes into an empty ring begins again at its first slot, so that a ring that is emptied all the time stays
// within a few lines of cache: memory that was not touched for long is what costs an audio thread most. `base` is
// the count that lies there. It may change only while the ring is empty, when the reader looks at no slot.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstring>
#include <vector>

#include "fetch.hpp"

namespace dawbridge {

// Fixed slots. `size` must be a power of two.
template <typename Slot>
class Ring {
public:
    explicit Ring(size_t size) : slots_(size), mask_(size - 1) {}

    // Writer: false if the ring is full.
    bool push(const Slot& slot) noexcept {
        const size_t tail = tail_.load(std::memory_order_relaxed), held = tail - head_.load(std::memory_order_acquire);
        if (held > mask_) return false;
        if (held == 0) base_.store(tail, std::memory_order_relaxed);
        slots_[(tail - base_.load(std::memory_order_relaxed)) & mask_] = slot;
        tail_.store(tail + 1, std::memory_order_release);
        return true;
    }

    // Writer: whether `push` would succeed.
    bool room() const noexcept {
        return tail_.load(std::memory_order_relaxed) - head_.load(std::memory_order_acquire) <= mask_;
    }

    // Either side, of a ring that is mostly empty: the next slot is near.
    void expect() const noexcept {
        fetch(&head_);
        fetch(&tail_);
        fetch(slots_.data());
    }

    // Reader: the slot `ahead` of the oldest, or null.
    const Slot* peek(size_t ahead = 0) const noexcept {
        const size_t head = head_.load(std::memory_order_relaxed);
        if (tail_.load(std::memory_order_acquire) - head <= ahead) return nullptr;
        return &slots_[(head + ahead - base_.load(std::memory_order_relaxed)) & mask_];
    }

    // Reader: let go of the oldest slot; only after `peek` gave one.
    void pop() noexcept { head_.store(head_.load(std::memory_order_relaxed) + 1, std::memory_order_release); }

private:
    std::vector<Slot> slots_;
    const size_t mask_;
    alignas(64) std::atomic<size_t> head_{0};
    alignas(64) std::atomic<size_t> tail_{0};
    std::atomic<size_t> base_{0};
};

// Runs of samples of any length, for audio; what belongs to which block is told by a `Ring` beside it.
class SampleRing {
public:
    SampleRing(size_t channels, size_t least) : channels_(channels), size_(power_of_two(least)) {
        samples_.resize(channels_ * size_);
    }

    // Writer: how many samples fit.
    size_t room() const noexcept {
        return size_ - (tail_.load(std::memory_order_relaxed) - head_.load(std::memory_order_acquire));
    }

    // Writer: append; only what `room` allows.
    void write(const float* const* channels, size_t offset, size_t count) noexcept {
        const size_t tail = tail_.load(std::memory_order_relaxed), at = begin_write(tail), first = std::min(count, size_ - at);
        for (size_t channel = 0; channel < channels_; ++channel) {
            float* to = &samples_[channel * size_];
            const float* from = channels[channel] + offset;
            std::memcpy(to + at, from, first * sizeof(float));
            std::memcpy(to, from + first, (count - first) * sizeof(float));
        }
        tail_.store(tail + count, std::memory_order_release);
    }

    // Writer, where the ring has one channel: append the mean of two.
    void write_mean(const float* const* pair, size_t offset, size_t count) noexcept {
        const size_t tail = tail_.load(std::memory_order_relaxed), at = begin_write(tail), first = std::min(count, size_ - at);
        mean(pair, offset, &samples_[at], first);
        mean(pair, offset + first, &samples_[0], count - first);
        tail_.store(tail + count, std::memory_order_release);
    }

    // Writer, of a ring that is mostly empty: `count` samples are near.
    void expect(size_t count) const noexcept {
        fetch(&head_);
        fetch(&tail_);
        fetch(samples_.data(), std::min(count, size_));
    }

    // Reader: take `count` samples that were written, more than none, planar: channel after channel, `stride` apart.
    void read(float* to, size_t count, size_t stride) noexcept {
        const size_t head = head_.load(std::memory_order_relaxed);
        const size_t at = (head - base_.load(std::memory_order_relaxed)) & (size_ - 1), first = std::min(count, size_ - at);
        for (size_t channel = 0; channel < channels_; ++channel) {
            const float* from = &samples_[channel * size_];
            std::memcpy(to + channel * stride, from + at, first * sizeof(float));
            std::memcpy(to + channel * stride + first, from, (count - first) * sizeof(float));
        }
        head_.store(head + count, std::memory_order_release);
    }

    // Reader: forget `count` samples that were written.
    void skip(size_t count) noexcept {
        head_.store(head_.load(std::memory_order_relaxed) + count, std::memory_order_release);
    }

    // Either side: samples in the ring, as of some moment ago.
    size_t held() const noexcept {
        const size_t head = head_.load(std::memory_order_acquire);
        return tail_.load(std::memory_order_acquire) - head;
    }

private:
    static void mean(const float* const* pair, size_t offset, float* to, size_t count) noexcept {
        const float *left = pair[0] + offset, *right = pair[1] + offset;
        size_t i = 0;
        for (float sum[4], other[4]; i + 4 <= count; i += 4) {  // a form that compilers turn into vectors
            std::memcpy(sum, left + i, sizeof sum);
            std::memcpy(other, right + i, sizeof other);
            for (int k = 0; k < 4; ++k) sum[k] = (sum[k] + other[k]) * 0.5f;  // as the sidecar would
            std::memcpy(to + i, sum, sizeof sum);
        }
        for (; i < count; ++i) to[i] = (left[i] + right[i]) * 0.5f;
    }

    size_t begin_write(size_t tail) noexcept {
        if (tail == head_.load(std::memory_order_acquire)) base_.store(tail, std::memory_order_relaxed);
        return (tail - base_.load(std::memory_order_relaxed)) & (size_ - 1);
    }

    static size_t power_of_two(size_t least) {
        size_t size = 1;
        while (size < least) size *= 2;
        return size;
    }

    const size_t channels_, size_;
    std::vector<float> samples_;
    alignas(64) std::atomic<size_t> head_{0};
    alignas(64) std::atomic<size_t> tail_{0};
    std::atomic<size_t> base_{0};
};

}  // namespace dawbridge
