// Delays audio by a fixed number of samples, bit-exact; in and out may be the same memory.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "fetch.hpp"

namespace dawbridge {

class Delay {
public:
    // Makes room; the only call that allocates.
    void prepare(size_t channels, size_t samples) {
        length_ = samples;
        lines_.assign(channels, std::vector<float>(samples, 0.0f));
        at_ = 0;
    }

    size_t length() const noexcept { return length_; }

    // `count` samples are near.
    void expect(size_t count) const noexcept {
        for (const auto& line : lines_) fetch(line.data() + at_, std::min(count, length_ - at_));
    }

    void process(const float* const* in, float* const* out, size_t count) noexcept {
        size_t at = at_;
        for (size_t channel = 0; channel < lines_.size(); ++channel) at = run(channel, in[channel], out[channel], count);
        at_ = at;
    }

private:
    size_t run(size_t channel, const float* in, float* out, size_t count) noexcept {
        if (length_ == 0) {
            if (in != out) std::memmove(out, in, count * sizeof(float));
            return 0;
        }
        float* line = lines_[channel].data();
        size_t at = at_;
        for (size_t done = 0; done < count;) {
            const size_t piece = std::min(count - done, length_ - at);
            exchange(line + at, in + done, out + done, piece);
            done += piece;
            at = at + piece == length_ ? 0 : at + piece;
        }
        return at;
    }

    // Inlined, four samples at a time by way of registers: a call of `memcpy` is a path through cold memory of
    // its own, and cost an audio thread that was just woken half a microsecond more.
    static void exchange(float* line, const float* in, float* out, size_t count) noexcept {
        struct Four {
            float samples[4];
        } held, now;
        size_t i = 0;
        for (; i + 4 <= count; i += 4) {
            std::memcpy(&held, line + i, sizeof held);
            std::memcpy(&now, in + i, sizeof now);
            std::memcpy(line + i, &now, sizeof now);
            std::memcpy(out + i, &held, sizeof held);
        }
        for (; i < count; ++i) {
            const float held = line[i];
            line[i] = in[i];
            out[i] = held;
        }
    }

    size_t length_ = 0, at_ = 0;
    std::vector<std::vector<float>> lines_;
};

}  // namespace dawbridge
