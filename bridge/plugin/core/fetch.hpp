// Asks for memory that is about to be written, without waiting for it. An audio thread that was just woken waits for
// memory longer than it computes; what is asked for together comes together.
#pragma once

#include <cstddef>

namespace dawbridge {

inline void fetch(const void* place) noexcept {
#if defined(__GNUC__)
    __builtin_prefetch(place, 1);
#else
    (void)place;
#endif
}

inline void fetch(const float* samples, size_t count) noexcept {
    for (size_t i = 0; i < count; i += 64 / sizeof(float)) fetch(samples + i);
}

}  // namespace dawbridge
