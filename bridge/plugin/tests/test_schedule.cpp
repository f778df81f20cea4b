#include <map>
#include <random>

#include "../core/schedule.hpp"
#include "../core/score.hpp"
#include "check.hpp"

using namespace dawbridge;

namespace {

// A host that writes down what it is given, in stream time.
struct Notebook final : Output {
    struct Line {
        int64_t time;
        int status, channel, first, second;
    };
    std::vector<Line> lines;
    std::vector<std::pair<Lane, float>> lanes;
    int64_t start = 0;
    size_t room = SIZE_MAX;

    bool midi(const Midi& message) noexcept override {
        if (room == 0) return false;
        --room;
        const int status = message.bytes[0];
        lines.push_back({start + message.offset, status & 0xf0, status & 0x0f, message.bytes[1], message.bytes[2]});
        return true;
    }
    void lane(Lane lane, float level) noexcept override { lanes.emplace_back(lane, level); }

    // Voices that the notes leave sounding; a strike of a sounding key counts as an error.
    std::map<int, int> sounding(int& errors) const {
        std::map<int, int> on;
        for (const Line& line : lines) {
            if (line.status == 0x90) errors += on[line.channel * 128 + line.first]++ != 0;
            if (line.status == 0x80) errors += on[line.channel * 128 + line.first]-- != 1;
        }
        for (auto at = on.begin(); at != on.end();) at = at->second == 0 ? on.erase(at) : std::next(at);
        return on;
    }
};

Cue cue(Cue::Kind kind, int64_t time, int pitch, int64_t voice, int value = 100, int channel = 0) {
    Cue made;
    made.kind = kind;
    made.time = time;
    made.number = static_cast<uint8_t>(pitch);
    made.voice = voice;
    made.value = static_cast<uint8_t>(value);
    made.channel = static_cast<uint8_t>(channel);
    return made;
}

constexpr auto on = Cue::Kind::note_on, off = Cue::Kind::note_off, cc = Cue::Kind::control;

}  // namespace

TEST(schedule_plays_at_time_plus_latency_to_the_sample_for_any_blocks) {
    std::mt19937 random(5);
    for (int64_t latency : {0, 1, 100, 5000}) {
        Schedule schedule;
        schedule.reset(latency, false);
        Notebook host;
        std::vector<int64_t> due;
        for (int64_t time = 8192, voice = 0; time < 100000; time += 1 + random() % 900, ++voice) {
            schedule.add(cue(on, time, 40 + static_cast<int>(voice % 40), voice));
            schedule.add(cue(off, time + 300, 40 + static_cast<int>(voice % 40), voice));
            due.push_back(time + latency);
        }
        while (host.start < 120000) {
            const uint32_t samples = random() % 3 ? 1 + random() % 64 : 1 + random() % 8192;
            schedule.play(host.start, samples, host);
            host.start += samples;
        }
        std::vector<int64_t> played;
        for (const auto& line : host.lines)
            if (line.status == 0x90) played.push_back(line.time);
        int errors = 0;
        CHECK(played == due && schedule.late() == 0 && schedule.waiting() == 0);
        CHECK(host.sounding(errors).empty() && errors == 0 && schedule.sounding() == 0);
    }
}

TEST(schedule_plays_late_cues_at_once_and_counts_them) {
    Schedule schedule;
    schedule.reset(10, false);
    Notebook host;
    host.start = 1000;
    schedule.add(cue(on, 500, 60, 1));
    schedule.add(cue(on, 995, 61, 2));
    schedule.play(1000, 64, host);
    CHECK(host.lines.size() == 2 && host.lines[0].time == 1000 && host.lines[1].time == 1005 && schedule.late() == 1);
}

TEST(schedule_in_immediate_mode_plays_as_cues_come_in_their_order) {
    Schedule schedule;
    schedule.reset(0, true);
    Notebook host;
    host.start = 640;
    schedule.add(cue(on, 500, 60, 1));
    schedule.add(cue(off, 100000, 60, 1));
    schedule.play(640, 64, host);
    CHECK(host.lines.size() == 2 && host.lines[0].status == 0x90 && host.lines[1].status == 0x80);
    CHECK(host.lines[1].time == 640 && schedule.late() == 0);
}

TEST(schedule_releases_a_key_before_it_strikes_it_again_and_ignores_strange_offs) {
    Schedule schedule;
    schedule.reset(0, false);
    Notebook host;
    schedule.add(cue(on, 1, 60, 1));
    schedule.add(cue(on, 2, 60, 2));
    schedule.add(cue(off, 3, 60, 1));
    schedule.add(cue(off, 4, 60, 2));
    schedule.play(0, 64, host);
    int errors = 0;
    CHECK(host.lines.size() == 4 && host.lines[1].status == 0x80 && host.lines[3].time == 4);
    CHECK(host.sounding(errors).empty() && errors == 0);
}

TEST(panic_silences_everything_and_later_offs_mean_nothing) {
    Schedule schedule;
    schedule.reset(100, false);
    Notebook host;
    schedule.add(cue(cc, 5, 64, 0, 127, 3));
    schedule.add(cue(on, 10, 60, 1, 90, 3));
    schedule.add(cue(on, 5000, 62, 2, 90, 3));
    schedule.play(0, 512, host);
    CHECK(schedule.sounding() == 1 && host.lines.size() == 2);
    host.lines.clear();
    host.start = 512;
    schedule.panic(6000, 0, host);
    CHECK(schedule.sounding() == 0 && schedule.waiting() == 0 && host.lines.size() == 3);
    CHECK(host.lines[0].status == 0x80 && host.lines[0].first == 60 && host.lines[0].channel == 3);
    CHECK(host.lines[1].first == 64 && host.lines[1].second == 0);
    CHECK(host.lines[2].first == 123 && host.lines[2].second == 0);
    schedule.add(cue(off, 400, 60, 1, 0, 3));
    schedule.add(cue(on, 5999, 65, 3, 90, 3));
    schedule.add(cue(off, 6001, 62, 2, 0, 3));
    schedule.play(512, 8192, host);
    CHECK(host.lines.size() == 3);
    schedule.panic(9000, 0, host);
    CHECK(host.lines.size() == 3);  // nothing was played since: nothing to silence
}

TEST(host_that_takes_no_more_midi_gets_the_rest_later) {
    Schedule schedule;
    schedule.reset(0, false);
    Notebook host;
    for (int i = 0; i < 50; ++i) schedule.add(cue(on, i, 30 + i, i));
    host.room = 20;
    schedule.play(0, 64, host);
    CHECK(host.lines.size() == 20 && schedule.waiting() == 30);
    host.start = 64;
    host.room = 100;
    schedule.play(64, 64, host);
    CHECK(schedule.sounding() == 50 && schedule.late() == 30);
    host.room = 17;
    schedule.panic(64, 0, host);
    while (schedule.sounding() > 0) host.room = 17, schedule.settle(host);
    int errors = 0;
    CHECK(host.sounding(errors).empty() && errors == 0);
}

TEST(schedule_survives_ten_thousand_random_breaks) {
    std::mt19937 random(6);
    Schedule schedule;
    schedule.reset(700, false);
    Notebook host;
    int64_t voice = 0;
    int errors = 0;
    for (int round = 0; round < 10000; ++round) {
        for (unsigned i = random() % 6; i > 0 && schedule.room(); --i) {
            const int pitch = static_cast<int>(random() % 128), channel = static_cast<int>(random() % 3);
            const int64_t time = host.start + static_cast<int>(random() % 2000) - 1000;
            if (random() % 2) schedule.add(cue(on, time, pitch, ++voice, 64, channel));
            else schedule.add(cue(off, time, pitch, voice - static_cast<int>(random() % 4), 64, channel));
            if (random() % 5 == 0) schedule.add(cue(cc, time, 64, 0, static_cast<int>(random() % 128), channel));
        }
        host.room = random() % 4 ? SIZE_MAX : random() % 10;
        schedule.settle(host);
        if (random() % 20 == 0) schedule.panic(host.start, 0, host);
        if (random() % 50 == 0) schedule.lose(host);
        if (random() % 100 == 0) schedule.reset(random() % 2000, random() % 2 == 0);
        const uint32_t samples = 1 + random() % 1024;
        schedule.play(host.start, samples, host);
        host.start += samples;
    }
    host.room = SIZE_MAX;
    schedule.panic(INT64_MAX, 0, host);
    CHECK(host.sounding(errors).empty() && errors == 0 && schedule.sounding() == 0);
    std::map<int, int> pedal;
    for (const auto& line : host.lines)
        if (line.status == 0xb0 && line.first == 64) pedal[line.channel] = line.second;
    for (const auto& [channel, value] : pedal) CHECK(value == 0);
}

TEST(score_applies_range_curve_channel_and_thins_controllers) {
    Instrument instrument;
    instrument.channel = 5;
    instrument.lowest = 21;
    instrument.highest = 108;
    for (int k = 0; k < 128; ++k) instrument.velocities.push_back(static_cast<uint8_t>(127 - k));
    instrument.lanes["dynamics"] = 1;
    Score score;
    score.begin(instrument, 48000);
    Events events;
    events.notes = {{true, 10, 1, 20, 0, 0.5}, {true, 11, 2, 60, 0, 1.0}, {true, 12, 3, 61, 9, 0.5}, {false, 30, 2, 60, 0, 0.25}};
    for (int i = 0; i < 100; ++i) events.lanes.push_back({i * 48, Lane::dynamics, i / 100.0});
    events.controls = {{5, 64, 0, 1.0}, {6, 64, 0, 1.0}, {7, 64, 0, 0.0}, {8, 64, 0, 0.7}};
    std::vector<Cue> cues;
    score.translate(events, cues);
    std::vector<Cue> notes, pedals, dynamics;
    int64_t before = 0;
    for (const Cue& one : cues) {
        CHECK(one.time >= before);
        before = one.time;
        if (one.kind == on || one.kind == off) notes.push_back(one);
        else if (one.kind == cc) (one.number == 64 ? pedals : dynamics).push_back(one);
    }
    CHECK(notes.size() == 3 && notes[0].channel == 4 && notes[0].value == 1 && notes[1].channel == 9 && notes[1].value == 63);
    CHECK(notes[2].kind == off && notes[2].value == 32);
    CHECK(pedals.size() == 3 && pedals[1].value == 0 && pedals[2].value == 89);  // each turn, not the repetition
    CHECK(dynamics.size() == 10 && dynamics[0].number == 1);                     // one in ten milliseconds
    for (size_t i = 1; i < dynamics.size(); ++i) CHECK(dynamics[i].time - dynamics[i - 1].time >= 480);
}

int main(int count, char** words) { return check::run(count - 1, words + 1); }
