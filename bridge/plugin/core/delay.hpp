// Delays audio by a fixed number of samples, bit-exact; in and out may be the same memory.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

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
            const size_t piece = std::min({count - done, length_ - at, detour});
            float held[detour];  // by way of this memory it works in place
            std::memcpy(held, line + at, piece * sizeof(float));
            std::memcpy(line + at, in + done, piece * sizeof(float));
            std::memcpy(out + done, held, piece * sizeof(float));
            done += piece;
            at = at + piece == length_ ? 0 : at + piece;
        }
        return at;
    }

    static constexpr size_t detour = 512;

    size_t length_ = 0, at_ = 0;
    std::vector<std::vector<float>> lines_;
};

}  // namespace dawbridge
