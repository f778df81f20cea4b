// What validators of CLAP plug-ins ask, asked here: `clap_checks BUNDLE` prints each check and what was not so.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <functional>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "check.hpp"
#include "clap/entry.h"
#include "clap/ext/audio-ports.h"
#include "clap/ext/latency.h"
#include "clap/ext/note-ports.h"
#include "clap/ext/params.h"
#include "clap/ext/state.h"
#include "clap/plugin-factory.h"
#include "library.hpp"

namespace {

const clap_plugin_factory_t* factory = nullptr;
clap_host_t host{};

template <typename Extension>
const Extension* extension(const clap_plugin_t* plugin, const char* name) {
    return static_cast<const Extension*>(plugin->get_extension(plugin, name));
}

struct Instance {
    const clap_plugin_t* plugin = nullptr;
    const clap_plugin_params_t* params = nullptr;
    const clap_plugin_state_t* state = nullptr;

    Instance() {
        plugin = factory->create_plugin(factory, &host, factory->get_plugin_descriptor(factory, 0)->id);
        CHECK(plugin && plugin->init(plugin));
        params = extension<clap_plugin_params_t>(plugin, CLAP_EXT_PARAMS);
        state = extension<clap_plugin_state_t>(plugin, CLAP_EXT_STATE);
        CHECK(params && state);
    }
    ~Instance() { plugin->destroy(plugin); }
    Instance(const Instance&) = delete;
    Instance& operator=(const Instance&) = delete;

    std::vector<clap_param_info_t> infos() const {
        std::vector<clap_param_info_t> all(params->count(plugin));
        for (uint32_t i = 0; i < all.size(); ++i) CHECK(params->get_info(plugin, i, &all[i]));
        return all;
    }
    double value(clap_id id) const {
        double found = NAN;
        CHECK(params->get_value(plugin, id, &found));
        return found;
    }
    std::vector<double> values() const {
        std::vector<double> all;
        for (const auto& info : infos()) all.push_back(value(info.id));
        return all;
    }
};

bool writable(const clap_param_info_t& info) { return !(info.flags & CLAP_PARAM_IS_READONLY); }

// Events that a host hands over, in order.
struct Incoming {
    std::vector<clap_event_param_value_t> events;
    clap_input_events_t list{this,
                             [](const clap_input_events_t* l) { return static_cast<uint32_t>(static_cast<Incoming*>(l->ctx)->events.size()); },
                             [](const clap_input_events_t* l, uint32_t i) -> const clap_event_header_t* { return &static_cast<Incoming*>(l->ctx)->events[i].header; }};

    void set(clap_id id, double value, uint32_t time = 0) {
        clap_event_param_value_t event{};
        event.header = {sizeof event, time, CLAP_CORE_EVENT_SPACE_ID, CLAP_EVENT_PARAM_VALUE, 0};
        event.param_id = id;
        event.value = value;
        event.note_id = event.port_index = event.channel = event.key = -1;
        events.push_back(event);
    }
};

clap_output_events_t taking{nullptr, [](const clap_output_events_t*, const clap_event_header_t*) { return true; }};
clap_output_events_t refusing{nullptr, [](const clap_output_events_t*, const clap_event_header_t*) { return false; }};

// A stream that gives and takes at most `piece` bytes at a time.
struct Bytes {
    std::string bytes;
    size_t at = 0, piece = SIZE_MAX;
    clap_ostream_t to{this, [](const clap_ostream_t* s, const void* from, uint64_t size) {
        auto& self = *static_cast<Bytes*>(s->ctx);
        size = std::min<uint64_t>(size, self.piece);
        self.bytes.append(static_cast<const char*>(from), size);
        return static_cast<int64_t>(size);
    }};
    clap_istream_t from{this, [](const clap_istream_t* s, void* target, uint64_t size) {
        auto& self = *static_cast<Bytes*>(s->ctx);
        size = std::min<uint64_t>({size, self.piece, self.bytes.size() - self.at});
        std::memcpy(target, self.bytes.data() + self.at, size);
        self.at += size;
        return static_cast<int64_t>(size);
    }};
};

std::string saved(const Instance& instance, size_t piece = SIZE_MAX) {
    Bytes stream;
    stream.piece = piece;
    CHECK(instance.state->save(instance.plugin, &stream.to));
    return stream.bytes;
}

bool restore(const Instance& instance, const std::string& bytes, size_t piece = SIZE_MAX) {
    Bytes stream;
    stream.bytes = bytes;
    stream.piece = piece;
    return instance.state->load(instance.plugin, &stream.from);
}

void disturb(const Instance& instance, std::mt19937& random) {
    Incoming incoming;
    for (const auto& info : instance.infos()) {
        if (!writable(info)) continue;
        const double share = static_cast<double>(random() % 1001) / 1000;
        double value = info.min_value + share * (info.max_value - info.min_value);
        if (info.flags & CLAP_PARAM_IS_STEPPED) value = std::round(value);
        incoming.set(info.id, value);
    }
    instance.params->flush(instance.plugin, &incoming.list, &taking);
}

// One block; `in_place` lets it write where it reads. How many samples came out that are no numbers.
size_t process(const Instance& instance, std::vector<float> (&in)[2], uint32_t frames, bool in_place, const clap_input_events_t* events,
               const clap_output_events_t* out_events) {
    std::vector<float> out[2] = {std::vector<float>(frames + 1), std::vector<float>(frames + 1)};
    float* from[] = {in[0].data(), in[1].data()};
    float* to[] = {in_place ? from[0] : out[0].data(), in_place ? from[1] : out[1].data()};
    clap_audio_buffer_t input{}, output{};
    input.data32 = from, output.data32 = to;
    input.channel_count = output.channel_count = 2;
    clap_process_t block{};
    block.steady_time = -1;
    block.frames_count = frames;
    block.audio_inputs = &input, block.audio_outputs = &output;
    block.audio_inputs_count = block.audio_outputs_count = 1;
    block.in_events = events, block.out_events = out_events;
    CHECK(instance.plugin->process(instance.plugin, &block) != CLAP_PROCESS_ERROR);
    size_t wild = 0;
    for (const float* side : to)
        for (uint32_t i = 0; i < frames; ++i) wild += !std::isfinite(side[i]);
    return wild;
}

void play(const Instance& instance, double rate, uint32_t longest, int blocks, std::mt19937& random) {
    CHECK(instance.plugin->activate(instance.plugin, rate, 1, longest));
    CHECK(instance.plugin->start_processing(instance.plugin));
    std::vector<float> audio[2];
    for (int block = 0; block < blocks; ++block) {
        const uint32_t frames = block == 1 ? 0 : 1 + static_cast<uint32_t>(random() % longest);
        for (auto& side : audio) {
            side.assign(frames + 1, 0);
            for (float& sample : side) sample = static_cast<float>(random() % 2001) / 1000 - 1;
        }
        Incoming incoming;
        const auto infos = instance.infos();
        const auto& info = infos[random() % infos.size()];
        if (writable(info)) incoming.set(info.id, random() % 2 ? info.max_value : info.min_value, frames / 2);
        CHECK(process(instance, audio, frames, block % 2 == 0, &incoming.list, block % 3 ? &taking : &refusing) == 0);
    }
    instance.plugin->stop_processing(instance.plugin);
    instance.plugin->reset(instance.plugin);
    instance.plugin->deactivate(instance.plugin);
}

}  // namespace

TEST(the_factory_knows_what_it_makes) {
    CHECK(factory->get_plugin_count(factory) == 1);
    const auto* facts = factory->get_plugin_descriptor(factory, 0);
    CHECK(facts && *facts->id && *facts->name && *facts->vendor && *facts->version);
    std::set<std::string> features;
    for (auto feature = facts->features; *feature; ++feature) CHECK(features.insert(*feature).second);
    CHECK(features.count("audio-effect"));
    CHECK(!factory->create_plugin(factory, &host, "nobody.knows.this"));
    for (int i = 0; i < 20; ++i) Instance();
}

TEST(ports_are_stereo_and_one_for_notes) {
    Instance one;
    const auto* audio = extension<clap_plugin_audio_ports_t>(one.plugin, CLAP_EXT_AUDIO_PORTS);
    CHECK(audio && audio->count(one.plugin, true) == 1 && audio->count(one.plugin, false) == 1);
    for (const bool input : {true, false}) {
        clap_audio_port_info_t info{};
        CHECK(audio->get(one.plugin, 0, input, &info) && info.channel_count == 2);
        CHECK(!audio->get(one.plugin, 1, input, &info));
    }
    const auto* notes = extension<clap_plugin_note_ports_t>(one.plugin, CLAP_EXT_NOTE_PORTS);
    clap_note_port_info_t info{};
    CHECK(notes && notes->count(one.plugin, true) == 0 && notes->count(one.plugin, false) == 1);
    CHECK(notes->get(one.plugin, 0, false, &info) && (info.supported_dialects & CLAP_NOTE_DIALECT_MIDI));
    CHECK(!one.plugin->get_extension(one.plugin, "nobody.knows.this"));
}

TEST(parameters_stay_in_their_ranges_and_come_back_from_their_text) {
    Instance one;
    std::set<clap_id> ids;
    std::set<std::string> names;
    for (const auto& info : one.infos()) {
        CHECK(ids.insert(info.id).second && names.insert(info.name).second && *info.name);
        CHECK(info.min_value < info.max_value && info.default_value >= info.min_value && info.default_value <= info.max_value);
        CHECK(one.value(info.id) >= info.min_value && one.value(info.id) <= info.max_value);
        for (double share = 0; share <= 1; share += 0.125) {
            double value = info.min_value + share * (info.max_value - info.min_value), back = NAN;
            if (info.flags & CLAP_PARAM_IS_STEPPED) value = std::round(value);
            char text[256] = {}, again[256] = {};
            CHECK(one.params->value_to_text(one.plugin, info.id, value, text, sizeof text) && *text);
            CHECK(one.params->text_to_value(one.plugin, info.id, text, &back));
            CHECK(one.params->value_to_text(one.plugin, info.id, back, again, sizeof again));
            if (std::strcmp(text, again) != 0) std::printf("  %s: %f is %s, which is %f\n", info.name, value, text, back);
            CHECK(std::strcmp(text, again) == 0);
        }
        for (const char* rubbish : {"", "no number", "1e400", "-", "\xff\xfe"}) {
            double back = info.default_value;
            if (one.params->text_to_value(one.plugin, info.id, rubbish, &back)) CHECK(!std::isnan(back));
        }
    }
    double none = 0;
    clap_param_info_t info{};
    CHECK(!one.params->get_info(one.plugin, 1000, &info) && !one.params->get_value(one.plugin, 100000, &none));
}

TEST(parameters_take_what_the_host_sets) {
    Instance one;
    std::mt19937 random(1);
    for (int round = 0; round < 10; ++round) {
        Incoming incoming;
        for (const auto& info : one.infos())
            if (writable(info)) incoming.set(info.id, round % 2 ? info.max_value : info.min_value);
        const std::vector<clap_event_param_value_t> known = incoming.events;
        incoming.set(1000000, 1);  // of another version, perhaps
        one.params->flush(one.plugin, &incoming.list, &taking);
        for (const auto& event : known) CHECK(one.value(event.param_id) == event.value);
        disturb(one, random);
    }
}

TEST(state_comes_back_whenever_it_is_saved_and_however_it_is_cut) {
    std::mt19937 random(2);
    for (int round = 0; round < 12; ++round) {
        Instance one, two;
        disturb(one, random);
        if (round % 2) play(one, 48000, 256, 3, random);
        const std::string bytes = saved(one, round % 3 ? SIZE_MAX : 1);
        CHECK(!bytes.empty() && bytes == saved(one));
        if (round % 4 == 3) CHECK(two.plugin->activate(two.plugin, 44100, 1, 512));
        CHECK(restore(two, bytes, round % 5 ? SIZE_MAX : 1));
        const auto infos = one.infos();
        for (const auto& info : infos)
            if (writable(info)) CHECK(one.value(info.id) == two.value(info.id));
        CHECK(saved(two) == bytes);
        if (round % 4 == 3) two.plugin->deactivate(two.plugin);
    }
}

TEST(broken_states_do_no_harm) {
    std::mt19937 random(3);
    Instance one;
    const std::string bytes = saved(one);
    for (int round = 0; round < 300; ++round) {
        std::string broken = bytes.substr(0, random() % (bytes.size() + 1));
        for (unsigned i = random() % 8; i > 0 && !broken.empty(); --i) broken[random() % broken.size()] = static_cast<char>(random());
        restore(one, broken);
        for (const auto& info : one.infos()) CHECK(!std::isnan(one.value(info.id)));
    }
    std::string noise(5000, '\0');
    for (char& byte : noise) byte = static_cast<char>(random());
    restore(one, noise);
    play(one, 48000, 128, 3, random);
}

TEST(every_rate_and_block_size_is_played_again_and_again) {
    std::mt19937 random(4);
    Instance one;
    for (const double rate : {8000.0, 22050.0, 44100.0, 48000.0, 88200.0, 96000.0, 192000.0, 384000.0, 1234.5678, 768000.0})
        for (const uint32_t longest : {1u, 2u, 63u, 64u, 1024u, 8192u, 20000u}) play(one, rate, longest, 5, random);
    for (int again = 0; again < 20; ++again) {  // never processed in between
        CHECK(one.plugin->activate(one.plugin, 48000, 1, 512));
        one.plugin->deactivate(one.plugin);
    }
}

TEST(instances_do_not_disturb_each_other_on_threads_of_their_own) {
    std::vector<std::thread> threads;
    std::array<Instance, 6> many;
    for (size_t i = 0; i < many.size(); ++i)
        threads.emplace_back([&, i] {
            std::mt19937 random(static_cast<unsigned>(i));
            for (int round = 0; round < 6; ++round) play(many[i], 48000, 512, 20, random);
        });
    for (int round = 0; round < 200; ++round)
        for (const Instance& one : many) one.values();
    for (auto& thread : threads) thread.join();
}

TEST(an_instance_can_go_while_it_is_active) {
    for (int round = 0; round < 5; ++round) {
        Instance one;
        CHECK(one.plugin->activate(one.plugin, 48000, 1, 512));
        if (round % 2) CHECK(one.plugin->start_processing(one.plugin));
    }
}

int main(int count, char** words) {
    if (count < 2) return 2;
    Library library(words[1]);
    const auto* entry = library ? static_cast<const clap_plugin_entry_t*>(library.symbol("clap_entry")) : nullptr;
    if (!entry || !entry->init(words[1])) return 3;
    CHECK(!entry->get_factory("nobody.knows.this"));
    factory = static_cast<const clap_plugin_factory_t*>(entry->get_factory(CLAP_PLUGIN_FACTORY_ID));
    host.clap_version = CLAP_VERSION;
    host.name = "checks";
    host.vendor = host.url = host.version = "";
    host.get_extension = [](const clap_host_t*, const char*) -> const void* { return nullptr; };
    host.request_restart = host.request_process = host.request_callback = [](const clap_host_t*) {};
    const int result = check::run(count - 2, words + 2);
    entry->deinit();
    return library.close() || result;
}
