"""The filters of a meter: weightings in frequency and in time, bands, a microphone's response."""
