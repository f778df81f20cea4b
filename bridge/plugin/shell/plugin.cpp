// The shell around the engine: what DPF asks, in DPF's words. All the work is done in core/.
#include <algorithm>
#include <array>
#include <atomic>
#include <random>
#include <string>

#include "DistrhoPlugin.hpp"

#include "../core/engine.hpp"
#include "host.hpp"
#include "parameters.hpp"

START_NAMESPACE_DISTRHO

namespace {

// Names the instance in the host's project; not a secret.
std::string fresh_identity() {
    std::random_device random;
    std::string identity;
    for (int i = 0; i < 32; ++i) {
        if (i == 8 || i == 12 || i == 16 || i == 20) identity += '-';
        identity += "0123456789abcdef"[random() % 16];
    }
    return identity;
}

std::vector<std::string> split(const std::string& list) {
    std::vector<std::string> words;
    for (size_t at = 0; at <= list.size();) {
        const size_t comma = std::min(list.find(',', at), list.size());
        if (comma > at && words.size() < 6) words.push_back(list.substr(at, std::min<size_t>(comma - at, 64)));
        at = comma + 1;
    }
    return words;
}

std::string join(const std::vector<std::string>& words) {
    std::string list;
    for (const std::string& word : words) list += (list.empty() ? "" : ",") + word;
    return list;
}

struct StateFacts {
    const char *key, *label;
};

constexpr StateFacts state_facts[] = {{"instance", "Instance"}, {"presets", "Presets"}, {"contents", "Contents of the presets"}};
constexpr uint32_t state_count = static_cast<uint32_t>(std::size(state_facts));

}  // namespace

class DawbridgePlugin final : public Plugin, private dawbridge::Output {
public:
    DawbridgePlugin() : Plugin(dawbridge::parameter_count, 0, state_count), identity_(fresh_identity()) {
        for (uint32_t i = 0; i < dawbridge::parameter_count; ++i) values_[i] = dawbridge::parameter_facts[i].initial;
    }

protected:
    const char* getLabel() const override { return "dawbridge"; }
    const char* getDescription() const override { return "Hears a piano and plays its notes as MIDI."; }
    const char* getMaker() const override { return "dawbridge"; }
    const char* getLicense() const override { return "GPL-3.0-or-later"; }
    uint32_t getVersion() const override { return d_version(0, 1, 0); }
    int64_t getUniqueId() const override { return d_cconst('D', 'w', 'B', 'r'); }

    void initAudioPort(const bool input, const uint32_t index, AudioPort& port) override {
        port.groupId = kPortGroupStereo;
        Plugin::initAudioPort(input, index, port);
    }

    void initParameter(const uint32_t index, DISTRHO_NAMESPACE::Parameter& parameter) override {
        const dawbridge::ParameterFacts& facts = dawbridge::parameter_facts[index];
        if (facts.boolean) enumerate(parameter, dawbridge::switches);
        if (index == dawbridge::bypass) return parameter.initDesignation(kParameterDesignationBypass);
        parameter.name = facts.name;
        parameter.symbol = facts.symbol;
        parameter.description = facts.comment;
        parameter.ranges = ParameterRanges(facts.initial, facts.minimum, facts.maximum);
        parameter.hints |= facts.output ? kParameterIsOutput : kParameterIsAutomatable;
        if (facts.boolean) parameter.hints |= kParameterIsBoolean;
        const bool whole = index == dawbridge::late || index == dawbridge::dropped || index == dawbridge::sounding;
        if (whole) parameter.hints |= kParameterIsInteger;
        if (index == dawbridge::preset_status) enumerate(parameter, dawbridge::preset_statuses);
        if (index == dawbridge::system) enumerate(parameter, dawbridge::systems);
        if (index == dawbridge::mode) enumerate(parameter, dawbridge::alignments);
        if (index == dawbridge::latency_preset) enumerate(parameter, dawbridge::latency_presets);
    }

    float getParameterValue(const uint32_t index) const override {
        const dawbridge::Status status = engine_.status();
        const auto counted = [](uint64_t count) { return static_cast<float>(std::min<uint64_t>(count, 65535)); };
        switch (index) {
            case dawbridge::connected: return status.connected ? 1.0f : 0.0f;
            case dawbridge::preset_status: return static_cast<float>(status.resort);
            case dawbridge::late: return counted(status.late);
            case dawbridge::dropped: return counted(status.dropped);
            case dawbridge::sounding: return counted(status.sounding);
            default: return index < values_.size() ? values_[index].load(std::memory_order_relaxed) : 0.0f;
        }
    }

    void setParameterValue(const uint32_t index, const float value) override {
        if (index < values_.size()) values_[index].store(value, std::memory_order_relaxed);
    }

    void initState(const uint32_t index, State& state) override {
        state.key = state_facts[index].key;
        state.label = state_facts[index].label;
        state.defaultValue = "";
        state.hints = kStateIsOnlyForDSP;
    }

    String getState(const char* const key) const override {
        if (std::strcmp(key, "instance") == 0) return String(identity_.c_str());
        if (std::strcmp(key, "presets") == 0) return String(presets_.c_str());
        return String(latest_contents().c_str());
    }

    void setState(const char* const key, const char* const value) override {
        if (std::strcmp(key, "presets") == 0) presets_ = value;
        else if (std::strcmp(key, "contents") == 0) kept_ = value;
        else if (*value != '\0') identity_ = value;
    }

    void activate() override {
        dawbridge::Choices choices;
        choices.mode = static_cast<dawbridge::Mode>(chosen(dawbridge::mode, dawbridge::last_alignment));
        choices.presets = split(presets_);
        if (const int preset = chosen(dawbridge::latency_preset, dawbridge::last_latency_preset)) choices.presets.push_back(dawbridge::latency_presets[preset]);
        if (const int system = chosen(dawbridge::system, dawbridge::last_system)) choices.presets.push_back(dawbridge::systems[system]);
        heard_as_ = join(choices.presets);
        if (const size_t end = kept_.find('\n'); end != std::string::npos && kept_.substr(0, end) == heard_as_)
            choices.contents = kept_.substr(end + 1);
        choices.monitor = values_[dawbridge::monitor] > 0.5f;
        choices.start = values_[dawbridge::start] > 0.5f;
        choices.offline = getTimePosition().raw.offline || freewheeling();
        choices.instance = identity_;
        engine_.activate(getSampleRate(), getBufferSize(), choices);
        setLatency(engine_.latency());
    }

    void deactivate() override {
        kept_ = latest_contents();
        engine_.deactivate();
    }

    void run(const float** in, float** out, const uint32_t samples) override {
        const TimePosition& time = getTimePosition();
        taken_ = 0;
        engine_.process(in, out, samples, transport(time), time.raw.offline || freewheeling(),
                        values_[dawbridge::bypass] > 0.5f, *this);
    }

private:
    bool midi(const dawbridge::Midi& message) noexcept override {
        MidiEvent event;
        event.frame = message.offset;
        event.size = 3;
        std::memcpy(event.data, message.bytes, 3);
        event.data[3] = 0;
        event.dataExt = nullptr;
        if (writeMidiEvent(event)) return ++taken_, true;
        return taken_ == 0;  // a host that takes not even one has no use for MIDI
    }

    void lane(const dawbridge::Lane lane, const float level) noexcept override {
        if (lane == dawbridge::Lane::dynamics) values_[dawbridge::dynamics].store(std::clamp(level, 0.0f, 1.0f), std::memory_order_relaxed);
        if (lane == dawbridge::Lane::velocity) values_[dawbridge::velocity].store(std::clamp(level, 0.0f, 1.0f), std::memory_order_relaxed);
        if (lane == dawbridge::Lane::tempo) values_[dawbridge::tempo].store(std::clamp(level, 0.0f, 400.0f), std::memory_order_relaxed);
    }

    // The names that were asked for, and after a line's end the preset that they meant.
    std::string latest_contents() const {
        const std::string contents = heard_as_.empty() ? std::string() : engine_.contents();
        return contents.empty() ? kept_ : heard_as_ + "\n" + contents;
    }

    template <size_t count>
    static void enumerate(DISTRHO_NAMESPACE::Parameter& parameter, const char* const (&labels)[count]) {
        parameter.hints |= kParameterIsInteger;
        parameter.enumValues.count = count;
        parameter.enumValues.restrictedMode = true;
        parameter.enumValues.values = new ParameterEnumerationValue[count];
        for (size_t i = 0; i < count; ++i) {
            parameter.enumValues.values[i].value = static_cast<float>(i);
            parameter.enumValues.values[i].label = labels[i];
        }
    }

    int chosen(dawbridge::Parameter index, int most) const {
        return std::clamp(static_cast<int>(values_[index].load() + 0.5f), 0, most);
    }

    bool freewheeling() const {
#ifdef DISTRHO_PLUGIN_TARGET_LV2
        return values_[dawbridge::freewheel].load(std::memory_order_relaxed) > 0.5f;
#else
        return false;
#endif
    }

    dawbridge::Transport transport(const TimePosition& time) const noexcept {
        const TimePosition::Raw& raw = time.raw;
        dawbridge::Transport transport;
        transport.playing = time.playing;
        transport.recording = raw.recording;
        transport.looping = raw.looping;
        if (raw.hasTempo && raw.tempo > 0 && raw.tempo <= 10000) transport.tempo_bpm = raw.tempo;
        if (raw.hasQuarters && std::isfinite(raw.quarters)) transport.beats = raw.quarters;
        if (raw.hasBarStart && std::isfinite(raw.barStart)) transport.bar = raw.barStart;
        const bool sane = raw.beatsPerBar >= 1 && raw.beatsPerBar <= 64 && raw.beatType >= 1 && raw.beatType <= 64;
        if (raw.hasMeter && sane) transport.meter = dawbridge::Meter{raw.beatsPerBar, raw.beatType};
        const int64_t most = int64_t{1} << 53;
        if (raw.hasPosition && raw.position >= -most && raw.position <= most) transport.position = raw.position;
#ifdef DISTRHO_PLUGIN_TARGET_LV2
        read_lv2(time, transport);
#endif
        if (early_ && transport.playing) move(transport, engine_.latency());
        return transport;
    }

    // The song that many samples later.
    void move(dawbridge::Transport& transport, const uint32_t samples) const noexcept {
        if (transport.position) *transport.position += samples;
        if (transport.beats && transport.tempo_bpm)
            *transport.beats += samples / getSampleRate() * *transport.tempo_bpm / 60;
    }

    // LV2 counts in beats of the metre, whatever their length.
    static void read_lv2(const TimePosition& time, dawbridge::Transport& transport) noexcept {
        const TimePosition::BarBeatTick& bbt = time.bbt;
        if (transport.position) transport.position = static_cast<int64_t>(time.frame);
        if (!bbt.valid || bbt.beatType < 1 || bbt.beatsPerBar < 1 || bbt.ticksPerBeat <= 0) return;
        const double quarters = 4.0 / bbt.beatType;
        transport.meter = dawbridge::Meter{static_cast<int>(std::min(bbt.beatsPerBar, 64.0f)), static_cast<int>(std::min(bbt.beatType, 64.0f))};
        if (bbt.beatsPerMinute > 0 && bbt.beatsPerMinute * quarters <= 10000) transport.tempo_bpm = bbt.beatsPerMinute * quarters;
        transport.bar = (bbt.bar - 1) * static_cast<double>(bbt.beatsPerBar) * quarters;
        transport.beats = *transport.bar + (bbt.beat - 1 + bbt.tick / bbt.ticksPerBeat) * quarters;
    }

    dawbridge::Engine engine_;
    std::array<std::atomic<float>, dawbridge::parameter_count> values_;
    std::string identity_, presets_;
    std::string heard_as_;  // names of the presets of this activation
    std::string kept_;      // see `latest_contents`
    const bool early_ = dawbridge::tells_position_of_output();
    uint32_t taken_ = 0;  // MIDI messages that the host took in this block

    DISTRHO_DECLARE_NON_COPYABLE_WITH_LEAK_DETECTOR(DawbridgePlugin)
};

Plugin* createPlugin() { return new DawbridgePlugin(); }

END_NAMESPACE_DISTRHO
