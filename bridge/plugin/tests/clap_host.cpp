// A CLAP host without a screen, for tests: `clap_host BUNDLE SECONDS BLOCK OFFLINE` plays a click every 12000
// samples through the plug-in and prints what `fake_host` prints. The headers are those that DPF brings. On Windows
// one word more may name the connection file of a sidecar outside of Wine.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "clap/entry.h"
#include "clap/ext/latency.h"
#include "clap/ext/params.h"
#include "clap/ext/state.h"
#include "clap/plugin-factory.h"
#include "library.hpp"

namespace {

constexpr double rate = 48000;

struct Line {
    int64_t time;
    uint8_t bytes[3];
};
std::vector<Line> lines;
int64_t position = 0;
uint32_t last_time = 0, disordered = 0;
std::string saved;
size_t loaded = 0;

float click(int64_t time) {
    const double phase = std::remainder(static_cast<double>(time), 12000.0);
    return time < 24000 || std::abs(phase) > 72 ? 0.0f : static_cast<float>(std::exp(-0.5 * phase * phase / 144));
}

bool push(const clap_output_events_t*, const clap_event_header_t* event) {
    disordered += event->type == CLAP_EVENT_MIDI && event->time < last_time;
    if (event->type != CLAP_EVENT_MIDI) return true;
    last_time = event->time;
    const auto* midi = reinterpret_cast<const clap_event_midi_t*>(event);
    lines.push_back({position + event->time, {midi->data[0], midi->data[1], midi->data[2]}});
    return true;
}

int64_t save(const clap_ostream_t*, const void* bytes, uint64_t size) {
    saved.append(static_cast<const char*>(bytes), size);
    return static_cast<int64_t>(size);
}

int64_t restore(const clap_istream_t*, void* bytes, uint64_t size) {
    size = std::min<uint64_t>(size, saved.size() - loaded);
    std::memcpy(bytes, saved.data() + loaded, size);
    loaded += size;
    return static_cast<int64_t>(size);
}

uint64_t play(const clap_plugin_t* plugin, double seconds, uint32_t block, bool offline, uint32_t latency) {
    std::vector<float> in(block), left(block), right(block);
    float* ins[] = {in.data(), in.data()};
    float* outs[] = {left.data(), right.data()};
    clap_audio_buffer_t input{}, output{};
    input.data32 = ins;
    output.data32 = outs;
    input.channel_count = output.channel_count = 2;
    clap_input_events_t none{nullptr, [](const clap_input_events_t*) { return uint32_t{0}; },
                             [](const clap_input_events_t*, uint32_t) -> const clap_event_header_t* { return nullptr; }};
    clap_output_events_t events{nullptr, push};
    clap_event_transport_t transport{};
    transport.flags = CLAP_TRANSPORT_IS_PLAYING | CLAP_TRANSPORT_HAS_TEMPO | CLAP_TRANSPORT_HAS_BEATS_TIMELINE |
                      CLAP_TRANSPORT_HAS_SECONDS_TIMELINE | CLAP_TRANSPORT_HAS_TIME_SIGNATURE;
    transport.tempo = 120;
    transport.tsig_num = transport.tsig_denom = 4;
    clap_process_t process{};
    process.frames_count = block;
    process.transport = &transport;
    process.audio_inputs = &input;
    process.audio_outputs = &output;
    process.audio_inputs_count = process.audio_outputs_count = 1;
    process.in_events = &none;
    process.out_events = &events;
    uint64_t wrong = 0;
    const auto begin = std::chrono::steady_clock::now();
    for (; position < static_cast<int64_t>(seconds * rate); position += block) {
        for (uint32_t i = 0; i < block; ++i) in[i] = click(position + i);
        const double now = static_cast<double>(position) / rate;
        transport.song_pos_seconds = static_cast<int64_t>(now * CLAP_SECTIME_FACTOR);
        transport.song_pos_beats = static_cast<int64_t>(now * 2 * CLAP_BEATTIME_FACTOR);
        process.steady_time = position;
        last_time = 0;
        if (plugin->process(plugin, &process) == CLAP_PROCESS_ERROR) return UINT64_MAX;
        for (uint32_t i = 0; i < block; ++i) {
            const int64_t then = position + i - latency;
            const float wanted = then < 0 ? 0.0f : click(then);
            wrong += (left[i] != wanted) + (right[i] != wanted);
        }
        if (!offline) std::this_thread::sleep_until(begin + std::chrono::duration<double>(static_cast<double>(position) / rate));
    }
    return wrong;
}

#ifdef _WIN32
// A sidecar outside of Wine has no process here, so that it would be taken for dead: this host stands in for it, in a
// copy of its connection file where the plug-in looks.
bool stand_in(const char* path) {
    std::ifstream file(path, std::ios::binary);
    std::string text((std::istreambuf_iterator<char>(file)), {});
    const char* folder = std::getenv("DAWBRIDGE_RUNTIME_DIR");
    const size_t key = text.find("\"pid\":");
    if (key == std::string::npos || !folder) return false;
    const size_t first = key + 6, last = text.find_first_of(",}", first);
    text.replace(first, last - first, std::to_string(GetCurrentProcessId()));
    std::ofstream(std::string(folder) + "/connection.json", std::ios::binary) << text;
    return true;
}
#endif

}  // namespace

int main(int count, char** words) {
    if (count < 5) return 2;
#ifdef _WIN32
    if (count > 5 && !stand_in(words[5])) return 9;
#endif
    Library library(words[1]);
    if (!library) return 3;
    const auto* entry = static_cast<const clap_plugin_entry_t*>(library.symbol("clap_entry"));
    if (!entry || !entry->init(words[1])) return 4;
    const auto* factory = static_cast<const clap_plugin_factory_t*>(entry->get_factory(CLAP_PLUGIN_FACTORY_ID));
    const clap_plugin_descriptor_t* facts = factory->get_plugin_descriptor(factory, 0);
    clap_host_t host{};
    host.clap_version = CLAP_VERSION;
    host.name = "fake";
    host.vendor = host.url = host.version = "";
    host.get_extension = [](const clap_host_t*, const char*) -> const void* { return nullptr; };
    host.request_restart = host.request_process = host.request_callback = [](const clap_host_t*) {};
    const clap_plugin_t* plugin = factory->create_plugin(factory, &host, facts->id);
    if (!plugin || !plugin->init(plugin)) return 5;
    const bool offline = std::atoi(words[4]) != 0;
    struct Render {
        bool (*hard)(const clap_plugin_t*);
        bool (*set)(const clap_plugin_t*, int32_t);
    };
    const auto* render = static_cast<const Render*>(plugin->get_extension(plugin, "clap.render"));
    if (!render || !render->set(plugin, offline)) return 6;
    const auto* state = static_cast<const clap_plugin_state_t*>(plugin->get_extension(plugin, CLAP_EXT_STATE));
    const clap_ostream_t to{nullptr, save};
    const clap_istream_t from{nullptr, restore};
    if (!state || !state->save(plugin, &to) || saved.empty() || !state->load(plugin, &from)) return 7;
    const auto block = static_cast<uint32_t>(std::atoi(words[3]));
    if (!plugin->activate(plugin, rate, 1, block) || !plugin->start_processing(plugin)) return 8;
    const auto* latency = static_cast<const clap_plugin_latency_t*>(plugin->get_extension(plugin, CLAP_EXT_LATENCY));
    const uint32_t promised = latency->get(plugin);
    const uint64_t wrong = play(plugin, std::atof(words[2]), block, offline, promised);
    std::printf("latency %u\n", promised);
    for (const Line& line : lines)
        std::printf("%lld %d %d %d\n", static_cast<long long>(line.time), line.bytes[0], line.bytes[1], line.bytes[2]);
    std::printf("wrong %llu\n", static_cast<unsigned long long>(wrong + disordered));
    plugin->stop_processing(plugin);
    plugin->deactivate(plugin);
    plugin->destroy(plugin);
    entry->deinit();
    return library.close();
}
