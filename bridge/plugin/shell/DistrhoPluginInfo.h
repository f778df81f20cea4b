// What DPF must know about the plug-in at compile time.
#pragma once

#define DISTRHO_PLUGIN_BRAND "dawbridge"
#define DISTRHO_PLUGIN_NAME "dawbridge"
#define DISTRHO_PLUGIN_URI "urn:dawbridge:plugin"
#define DISTRHO_PLUGIN_CLAP_ID "dawbridge.plugin"
#define DISTRHO_PLUGIN_VERSION_TEXT "0.1.0"
#define DISTRHO_PLUGIN_BRAND_ID Dawb
#define DISTRHO_PLUGIN_UNIQUE_ID DwBr

#define DISTRHO_PLUGIN_NUM_INPUTS 2
#define DISTRHO_PLUGIN_NUM_OUTPUTS 2
#define DISTRHO_PLUGIN_HAS_UI 0
#define DISTRHO_PLUGIN_IS_RT_SAFE 1
#define DISTRHO_PLUGIN_IS_SYNTH 0
#define DISTRHO_PLUGIN_WANT_LATENCY 1
#define DISTRHO_PLUGIN_WANT_MIDI_INPUT 0  // with it, VST3 has 2,080 parameters more and hosts load for seconds
#define DISTRHO_PLUGIN_WANT_MIDI_OUTPUT 1
#define DISTRHO_PLUGIN_WANT_STATE 1
#define DISTRHO_PLUGIN_WANT_FULL_STATE 1
#define DISTRHO_PLUGIN_WANT_TIMEPOS 1

#define DISTRHO_PLUGIN_LV2_CATEGORY "lv2:AnalyserPlugin"
#define DISTRHO_PLUGIN_VST3_CATEGORIES "Fx|Analyzer|Stereo"
#define DISTRHO_PLUGIN_CLAP_FEATURES "audio-effect", "analyzer", "note-detector", "stereo"
