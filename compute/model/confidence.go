package model

import "strconv"

// Confidence 置信 is what became of the held-out units whose score lay in the same part
// of the scale: of a binary model the share of the first class, of several classes the
// share that was right, of a number the mean label. scores are one row's, as they are
// given. It is post-processing of the released evaluation and costs nothing; nil where
// there is none: clusters, a score out of any part, or units that the noise hides.
func (e *Evaluation) Confidence(scores []string) *Estimate {
	if len(scores) == 0 || len(e.Calibration) == 0 {
		return nil
	}
	var at float64
	rest := 1.0
	for i, text := range scores {
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil
		}
		if rest -= v; i == 0 || v > at {
			at = v
		}
	}
	if len(scores) > 1 && rest > at {
		at = rest // the first class, which is not given
	}
	last := e.Calibration[len(e.Calibration)-1]
	if at == last.To {
		return last.Observed
	}
	for _, p := range e.Calibration {
		if at >= p.From && at < p.To {
			return p.Observed
		}
	}
	return nil
}
