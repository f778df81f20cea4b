// From the sidecar's events to cues: velocity curve, key range, controllers, thinning.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "messages.hpp"
#include "schedule.hpp"

namespace dawbridge {

class Score {
public:
    // `rate` in Hz decides how dense controllers may be.
    void begin(const Instrument& instrument, int rate);

    // Appends the cues of `events`, in order of time, to `cues`.
    void translate(const Events& events, std::vector<Cue>& cues);

private:
    struct Sent {
        int64_t time = INT64_MIN / 2;
        int value = -1;
    };

    void note(const Note& note, std::vector<Cue>& cues) const;
    void control(const Control& control, std::vector<Cue>& cues);
    void lane(const LanePoint& point, std::vector<Cue>& cues);
    bool worth(int controller, int channel, int value, int64_t time);
    int channel(int wire) const { return wire ? wire : instrument_.channel - 1; }

    Instrument instrument_;
    int64_t spacing_ = 480;  // least samples between two values of a controller
    int dynamics_ = -1;
    std::array<std::array<Sent, 128>, 16> sent_;
};

}  // namespace dawbridge
