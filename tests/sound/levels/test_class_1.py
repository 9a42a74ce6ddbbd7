"""A meter against the tables of IEC 61672-1 and IEC 61260-1 for class 1."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from sonyc_ml.sound.levels.filters.bands import EDGE, bands_of, middle_hz, nominal_hz
from sonyc_ml.sound.levels.filters.weighting import UNIT_LENGTH, Weightings
from tests.support.iec import TABLE_3, TABLE_4_F, TABLE_4_S, TABLE_5, exact_hz, limits_db
from tests.support.levels import Samples, measure, tone

Floats = npt.NDArray[np.float64]

RATES = (32000, 44100, 48000, 96000)
LOWER_RATES = (8000, 16000, 22050)  # class 1 as far as they reach
ROUNDING_DB = 0.05  # the table's values have one digit behind the point
SINE_DB = -3.0103


def response_db(sample_rate: int, frequencies_hz: Floats) -> dict[str, Floats]:
    """What A and C do to a single sample, as levels at frequencies."""
    weightings = Weightings(sample_rate)
    samples = np.zeros(UNIT_LENGTH * max(2, -(-sample_rate // UNIT_LENGTH)), np.float32)
    samples[0] = 1
    units = [weightings(unit) for unit in samples.reshape(-1, UNIT_LENGTH)]
    turns = np.exp(-2j * np.pi * np.outer(frequencies_hz, np.arange(len(samples))) / sample_rate)
    weighted = {kind: np.concatenate([unit[place] for unit in units]) for place, kind in enumerate("AC")}
    return {kind: 20 * np.log10(np.abs(turns @ wave.astype(np.float64))) for kind, wave in weighted.items()}


@pytest.mark.numeric
@pytest.mark.parametrize("sample_rate", RATES + LOWER_RATES)
def test_weightings_are_class_1_at_every_frequency(sample_rate: int) -> None:
    """A and C lie inside the limits of table 3 at all frequencies that the sample rate has, and in between."""
    rows = [row for row in TABLE_3 if exact_hz(row[0]) < sample_rate / 2]
    exact = np.array([exact_hz(row[0]) for row in rows])
    found = response_db(sample_rate, np.array([*exact, 1000.0]))
    for column, kind in ((1, "A"), (2, "C")):
        wanted = np.array([row[column] for row in rows])
        off = found[kind][:-1] - found[kind][-1] - wanted
        assert np.all(off <= np.array([row[3] for row in rows]) - ROUNDING_DB), (kind, off)
        assert np.all(off >= np.array([row[4] for row in rows]) + ROUNDING_DB), (kind, off)
        # Far inside: nothing is left for a microphone and its converter otherwise.
        assert np.abs(off[exact >= 20]).max() < 0.3, (kind, off)
        assert abs(found[kind][-1]) < 0.02


@pytest.mark.numeric
@pytest.mark.parametrize("sample_rate", RATES)
def test_a_steady_tone_reads_as_the_table_says(sample_rate: int) -> None:
    """LAeq and LCeq of a tone are those of table 3 below its own level, which is LZeq, as is LAFmax with LAeq."""
    for nominal, a_db, c_db, upper, lower in (TABLE_3[place] for place in (5, 10, 17, 20, 26, 29, 31)):
        levels = measure(tone(exact_hz(nominal), sample_rate, 2.0), sample_rate, bands="none")
        level_db = 20 * np.log10(0.5) + SINE_DB
        assert lower < levels["LAeq_total"] - level_db - a_db < upper
        assert lower < levels["LCeq_total"] - level_db - c_db < upper
        assert levels["LZeq_total"] == pytest.approx(level_db, abs=0.01)
        assert levels["LAFmax"][1] == pytest.approx(levels["LAeq"][1], abs=0.1)


@pytest.mark.numeric
@pytest.mark.parametrize("sample_rate", RATES)
def test_tone_bursts_read_as_class_1_asks_for(sample_rate: int) -> None:
    """The largest F and S reading of a burst of 4 kHz lies inside the limits of table 4, for every length."""
    steady = measure(tone(4000, sample_rate, 8.0), sample_rate, bands="none")["LAeq_total"]
    for name, table in (("LAFmax", TABLE_4_F), ("LASmax", TABLE_4_S)):
        for duration_ms, wanted, upper, lower in table:
            burst = np.zeros(round(sample_rate * 5.5), np.float32)
            sound = tone(4000, sample_rate, duration_ms / 1000)
            start = round(sample_rate * 3.7301)
            burst[start : start + len(sound)] = sound
            read = measure(burst, sample_rate, bands="none")[f"{name}_total"] - steady
            assert lower + ROUNDING_DB < read - wanted < upper - ROUNDING_DB, (name, duration_ms, read)


@pytest.mark.numeric
@pytest.mark.parametrize("sample_rate", RATES)
def test_peaks_read_as_class_1_asks_for(sample_rate: int) -> None:
    """LCpeak of one cycle, and of half a cycle of either sign, lies inside the limits of table 5."""
    for n_cycles, nominal, wanted, limit in TABLE_5:
        frequency_hz = exact_hz(nominal)
        steady = measure(tone(frequency_hz, sample_rate, 2.0), sample_rate, bands="none")["LCeq_total"]
        samples = np.zeros(2 * sample_rate, np.float32)
        cycle = np.sign(n_cycles) * tone(frequency_hz, sample_rate, abs(n_cycles) / frequency_hz)
        samples[sample_rate : sample_rate + len(cycle)] = cycle
        read = measure(samples, sample_rate, bands="none")["LCpeak_total"] - steady
        assert abs(read - wanted) < limit - ROUNDING_DB, (n_cycles, nominal, read)


@pytest.mark.numeric
def test_a_tone_that_ends_falls_as_fast_as_class_1_asks_for() -> None:
    """F falls by 34.7 dB a second and S by 4.3, far within the limits of 5.8.2 of IEC 61672-1."""
    sample_rate = 48000
    samples = tone(1000, sample_rate, 8.0)
    samples[6 * sample_rate :] = 0
    fine = measure(samples, sample_rate, bands="none", period_s=0.1)
    fall_f = (fine["L50"][62] - fine["L50"][67]) / 0.5
    fall_s = (fine["LASmax"][62] - fine["LASmax"][77]) / 1.5
    assert 34.7 - 3.7 < fall_f < 34.7 + 3.8
    assert fall_f == pytest.approx(34.74, abs=0.1)
    assert 4.3 - 0.7 < fall_s < 4.3 + 0.8


def band_readings_db(sample_rate: int, frequencies_hz: list[float], bands: str = "third-octave") -> Floats:
    """What the bands read of tones below the tones' own level, `(n_tones, n_bands)`, away from where they begin."""
    rows = []
    for frequency_hz in frequencies_hz:
        levels = measure(tone(frequency_hz, sample_rate, 7.5), sample_rate, period_s=2.5, bands=bands)
        rows.append(20 * np.log10(0.5) + SINE_DB - levels.bands[1].astype(np.float64))
    return np.array(rows)


@pytest.mark.numeric
@pytest.mark.parametrize(
    ("sample_rate", "bands", "per_octave"), [*((rate, "third-octave", 3) for rate in RATES), (48000, "octave", 1)]
)
def test_bands_are_class_1(sample_rate: int, bands: str, per_octave: int) -> None:
    """The relative attenuation of every band lies inside table 1 of IEC 61260-1, at its points and between."""
    octaves = np.array([-3.5, -2, -1, -0.6, -0.45, -0.375, -0.2, 0, 0.11, 0.25, 0.4, 0.49, 0.55, 0.8, 1.5, 3])
    tones = sorted(
        {
            float(hz)
            for number in (-16, -8, 0, 10)
            for hz in middle_hz(number) * 10 ** (0.3 * octaves / per_octave)
            if 8 < hz < sample_rate / 2 * 0.99
        }
    )
    read = band_readings_db(sample_rate, tones, bands=bands)
    found = measure(tone(1000, sample_rate, 0.1), sample_rate, bands=bands)
    for column, nominal in enumerate(found.band_hz):
        ratios = np.array(tones) / exact_hz(nominal)
        lower, upper = limits_db(ratios, per_octave)
        assert np.all(read[:, column] >= lower), (nominal, ratios[read[:, column] < lower])
        assert np.all(read[:, column] <= upper), (nominal, ratios[read[:, column] > upper])


@pytest.mark.numeric
def test_bands_add_up() -> None:
    """Between two middles the bands together read the tone: 5.16 of IEC 61260-1 allows +0.8 and -1.8 dB."""
    tones = [float(middle_hz(0) * EDGE ** (share * 2)) for share in (0, 0.25, 0.5, 0.75, 1)]
    together = -10 * np.log10((10 ** (-band_readings_db(48000, tones) / 10)).sum(axis=1))
    assert np.abs(together).max() < 0.02


def test_bands_are_called_by_the_standard_s_names() -> None:
    """From 25 Hz to 20 kHz, as far as a sample rate reaches."""
    assert [nominal_hz(number) for number in bands_of(48000)][:6] == [25, 31.5, 40, 50, 63, 80]
    assert [nominal_hz(number) for number in bands_of(48000)][-4:] == [10000, 12500, 16000, 20000]
    assert nominal_hz(bands_of(44100)[-1]) == 16000  # the upper edge of 20 kHz is at 22.4 kHz
    assert measure(np.zeros(100, np.float32), 48000, bands="octave").band_hz == (
        *(31.5, 63, 125, 250, 500, 1000, 2000, 4000, 8000, 16000),
    )


@pytest.mark.parametrize("sample_rate", [8000, 44100])
def test_the_same_samples_give_the_same_bits(sample_rate: int) -> None:
    """Whatever blocks they come in, and how long each is."""
    samples: Samples = np.random.default_rng(7).normal(0.01, 0.1, round(7.3 * sample_rate)).astype(np.float32)
    whole = measure(samples, sample_rate, block_length=len(samples))
    for block_length in (997, 4096, UNIT_LENGTH - 1, UNIT_LENGTH, 2 * UNIT_LENGTH + 1):
        parts = measure(samples, sample_rate, block_length=block_length)
        for name in ("values", "total", "bands", "band_total", "n_clipped", "measured_s"):
            assert getattr(parts, name).tobytes() == getattr(whole, name).tobytes(), (name, block_length)
