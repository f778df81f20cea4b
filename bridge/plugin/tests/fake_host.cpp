// A host without a screen: drives one engine block by block and prints what it plays, in stream time.
//
//   fake_host KEY=VALUE ...      rate, block (0 = random), seconds, clicks (every so many samples), offline,
//                                preset, mode, seed, tempo, playing, loop (samples), instances, activations,
//                                realtime, awake (never sleep between blocks), guard, moments, contents (a file with a preset by value),
//                                chaos (something happens once in so many blocks: seek, stop, bypass, activation;
//                                all is quiet in the last second),
//                                raw (a file of float32, both channels one after the other, instead of clicks),
//                                sin (1 calls the system, 2 allocates: the guard must notice)
//
// Prints `latency N`, then `T status a b` for each MIDI message, then `late N dropped N sounding N wrong N`:
// wrong counts samples that did not come out as they went in, `latency` later. With chaos, `actions N` too;
// with moments, `moment NS PITCH` for each note-on: when the block was processed that brought it. At last the
// time in seconds that other threads than the host's own were on a processor, one a line: `thread SECONDS NAME`.
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../core/engine.hpp"
#include "guard.hpp"

using namespace dawbridge;

namespace {

std::map<std::string, std::string> settings;
std::unique_ptr<int> sinful;  // what must not be made where it is made, to see that it is noticed

long number(const char* key, long otherwise) {
    const auto found = settings.find(key);
    return found == settings.end() ? otherwise : std::atol(found->second.c_str());
}

struct Track final : Output {
    struct Line {
        int64_t time, moment;
        uint8_t bytes[3];
    };
    std::vector<Line> lines;
    size_t count = 0;
    int64_t start = 0, moment = 0;

    Track() { lines.resize(1 << 17); }
    bool midi(const Midi& message) noexcept override {
        if (count == lines.size()) return false;
        lines[count++] = {start + message.offset, moment, {message.bytes[0], message.bytes[1], message.bytes[2]}};
        return true;
    }
    void lane(Lane, float) noexcept override {}
};

std::vector<float> period;     // a smooth click, narrow and band-limited, and the silence after it
std::vector<float> recording;  // both channels, one after the other; instead of clicks if not empty
int64_t first_click = 0;       // no click before this
int64_t last_click = INT64_MAX;  // nor after this: what sounds at the end was left behind

void draw_click(long every, long rate) {
    const double width = 0.00025 * static_cast<double>(rate);
    first_click = rate / 2;
    for (long time = 0; time < every; ++time) {
        const double phase = std::remainder(static_cast<double>(time), static_cast<double>(every));
        period.push_back(std::abs(phase) > 6 * width ? 0.0f : static_cast<float>(std::exp(-0.5 * phase * phase / width / width)));
    }
}

float heard(int channel, int64_t time) {
    const auto length = static_cast<int64_t>(recording.size() / 2);
    if (length == 0) return time < first_click || time >= last_click ? 0.0f : period[static_cast<size_t>(time) % period.size()];
    return time < length ? recording[static_cast<size_t>(channel * length + time)] : 0.0f;
}

void load(const char* path) {
    std::FILE* file = std::fopen(path, "rb");
    if (!file) std::_Exit(2);
    float samples[4096];
    for (size_t got; (got = std::fread(samples, sizeof *samples, 4096, file)) > 0;)
        recording.insert(recording.end(), samples, samples + got);
    std::fclose(file);
}

struct Host {
    Engine engine;
    Track track;
    std::vector<float> in[2], out[2];
    std::vector<double> cost_us;
    uint64_t wrong = 0;
    int64_t position = 0;
    int64_t moved = 0;  // song position minus stream position
    int64_t since = 0;  // position at activation
    bool playing = true, bypassed = false;
    long actions = 0;
};

Choices choices;
uint32_t longest = 0;

void activate(Host& host) {
    host.engine.activate(static_cast<double>(number("rate", 48000)), longest, choices);
    host.since = host.position;
}

void disturb(Host& host, std::mt19937& random) {
    ++host.actions;
    host.playing = true, host.bypassed = false;
    switch (random() % 4) {
        case 0: host.moved = static_cast<int64_t>(random() % 4800000); break;
        case 1: host.playing = false; break;
        case 2: host.bypassed = true; break;
        default: host.engine.deactivate(); activate(host);
    }
}

void step(Host& host, uint32_t samples, bool timed) {
    const long loop = number("loop", 0);
    for (uint32_t i = 0; i < samples; ++i)
        for (int channel = 0; channel < 2; ++channel) host.in[channel][i] = heard(channel, host.position + i);
    Transport transport;
    transport.playing = number("playing", 1) != 0 && host.playing;
    transport.position = loop ? host.position % loop : host.position + host.moved;
    transport.tempo_bpm = number("tempo", 120);
    transport.beats = static_cast<double>(*transport.position) / static_cast<double>(number("rate", 48000)) / 60 * *transport.tempo_bpm;
    const float* in[] = {host.in[0].data(), host.in[1].data()};
    float* out[] = {host.out[0].data(), host.out[1].data()};
    host.track.start = host.position;
    const bool offline = number("offline", 0) != 0;
    const long sin = number("sin", 0);
    const auto before = std::chrono::steady_clock::now();
    host.track.moment = std::chrono::nanoseconds(before.time_since_epoch()).count();
    {
        const guard::Watch watch;
        if (sin == 1) std::this_thread::sleep_for(std::chrono::microseconds(1));
        if (sin == 2) sinful = std::make_unique<int>(1);
        host.engine.process(in, out, samples, transport, offline, host.bypassed, host.track);
    }
    const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - before;
    if (timed && host.cost_us.size() < host.cost_us.capacity()) host.cost_us.push_back(took.count());
    const auto latency = static_cast<int64_t>(host.engine.latency());
    for (uint32_t i = 0; i < samples; ++i) {
        const int64_t then = host.position + i - latency;
        for (int channel = 0; channel < 2; ++channel)
            host.wrong += host.out[channel][i] != (then < host.since ? 0.0f : heard(channel, then));
    }
    host.position += samples;
}

void play(std::vector<std::unique_ptr<Host>>& hosts) {
    const long rate = number("rate", 48000), block = number("block", 256);
    const bool realtime = number("realtime", 1) != 0, awake = number("awake", number("guard", 0)) != 0;
    const auto chaos = static_cast<unsigned>(number("chaos", 0));
    std::mt19937 random(static_cast<unsigned>(number("seed", 1)));
    const auto end = static_cast<int64_t>(std::atof(settings.count("seconds") ? settings["seconds"].c_str() : "3") * static_cast<double>(rate));
    if (chaos) last_click = end - rate;
    const auto begin = std::chrono::steady_clock::now();
    while (hosts[0]->position < end) {
        const auto samples = static_cast<uint32_t>(block ? block : 1 + static_cast<long>(random() % 8192));
        for (auto& host : hosts) {
            if (chaos && hosts[0]->position > end - rate) host->playing = false;
            else if (chaos && random() % chaos == 0) disturb(*host, random);
            step(*host, samples, true);
        }
        const auto due = begin + std::chrono::duration<double>(static_cast<double>(hosts[0]->position) / static_cast<double>(rate));
        if (!realtime) continue;
        if (!awake) std::this_thread::sleep_until(due);
        while (std::chrono::steady_clock::now() < due) {
        }
    }
}

void print(Host& host, double seconds) {
    for (size_t i = 0; i < host.track.count; ++i) {
        const auto& line = host.track.lines[i];
        std::printf("%lld %d %d %d\n", static_cast<long long>(line.time), line.bytes[0], line.bytes[1], line.bytes[2]);
    }
    for (size_t i = 0; i < host.track.count && number("moments", 0); ++i) {
        const auto& line = host.track.lines[i];
        if ((line.bytes[0] & 0xf0) == 0x90) std::printf("moment %lld %d\n", static_cast<long long>(line.moment), line.bytes[1]);
    }
    const Status status = host.engine.status();
    std::sort(host.cost_us.begin(), host.cost_us.end());
    const auto at = [&](double share) { return host.cost_us.empty() ? 0 : host.cost_us[static_cast<size_t>(share * static_cast<double>(host.cost_us.size() - 1))]; };
    std::printf("late %llu dropped %llu sounding %llu wrong %llu\n", static_cast<unsigned long long>(status.late),
                static_cast<unsigned long long>(status.dropped), static_cast<unsigned long long>(status.sounding),
                static_cast<unsigned long long>(host.wrong));
    if (number("chaos", 0)) std::printf("actions %ld\n", host.actions);
    std::printf("cost_us p50 %.2f p99 %.2f p99.9 %.2f max %.2f blocks %zu seconds %.3f\n", at(0.5), at(0.99), at(0.999), at(1),
                host.cost_us.size(), seconds);
}

// What the threads of the plug-in cost; those of the host are `audio` and the first one.
void print_threads(const std::string& audio) {
    for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
        const std::string id = task.path().filename().string();
        std::ifstream comm(task.path() / "comm"), times(task.path() / "schedstat");
        std::string name;
        long long nanoseconds = 0;
        std::getline(comm, name);
        times >> nanoseconds;
        if (id != audio && id != std::to_string(getpid()))
            std::printf("thread %.6f %s\n", static_cast<double>(nanoseconds) / 1e9, name.c_str());
    }
}

}  // namespace

int main(int count, char** words) {
    for (int i = 1; i < count; ++i) {
        const std::string word = words[i];
        settings[word.substr(0, word.find('='))] = word.substr(word.find('=') + 1);
    }
    if (settings.count("raw")) load(settings["raw"].c_str());
    draw_click(number("clicks", 12000), number("rate", 48000));
    choices.offline = number("offline", 0) != 0;
    choices.mode = static_cast<Mode>(number("mode", 0));
    choices.start = number("start", 0) != 0;
    if (settings.count("preset")) choices.presets = {settings["preset"]};
    if (settings.count("contents")) std::getline(std::ifstream(settings["contents"]), choices.contents, '\0');
    std::vector<std::unique_ptr<Host>> hosts;
    longest = static_cast<uint32_t>(number("block", 256) ? number("block", 256) : 8192);
    for (long i = 0; i < number("instances", 1); ++i) {
        hosts.push_back(std::make_unique<Host>());
        for (auto* side : {&hosts.back()->in, &hosts.back()->out})
            for (int channel = 0; channel < 2; ++channel) side[0][channel].resize(8192);
        hosts.back()->cost_us.reserve(1 << 20);
        for (long again = number("activations", 1); again > 0; --again) activate(*hosts.back());
    }
    const Host& first = *hosts[0];
    std::printf("latency %u connected %d resort %d\n", first.engine.latency(), first.engine.status().connected,
                static_cast<int>(first.engine.status().resort));
    if (const std::string kept = first.engine.contents(); !kept.empty()) std::printf("contents %s\n", kept.c_str());
    std::fflush(stdout);
    std::atomic<bool> done{false}, counted{false};
    std::atomic<long> audio_id{0};
    const auto begin = std::chrono::steady_clock::now();
    std::thread audio([&] {
        const bool guarded = number("guard", 0) != 0;
        audio_id = syscall(SYS_gettid);
        void* volatile first = std::malloc(1);  // gives this thread its heap, which the host's own code uses
        std::free(first);
        if (guarded && !guard::forbid_system_calls()) std::_Exit(98);
        play(hosts);
        done = true;
        while (guarded || !counted) {  // this thread may not even end, or sleep
            if (!guarded) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
    });
    while (!done) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    print(*hosts[0], took.count());
    print_threads(std::to_string(audio_id));
    counted = true;
    std::printf("caught %d %s\n", guard::caught(), guard::first());
    rusage use{};
    getrusage(RUSAGE_SELF, &use);
    std::printf("memory %ld\n", use.ru_maxrss);
    std::fflush(stdout);
    if (number("guard", 0)) std::_Exit(guard::caught() ? 97 : 0);
    audio.join();
    return guard::caught() && !choices.offline ? 97 : 0;
}
