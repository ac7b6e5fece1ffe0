package gateway

import "time"

// SetTrials replaces how long trials of models take, and the pause between asking again.
func (d *Domain) SetTrials(whole, pause time.Duration) {
	d.aggregator.mu.Lock()
	defer d.aggregator.mu.Unlock()
	d.aggregator.trialTime, d.aggregator.trialPause = whole, pause
}

// LoseRounds makes the hub's ledger miss the end of the rounds that run, as a disk that is
// full at that moment does.
func (d *Domain) LoseRounds() {
	d.aggregator.mu.Lock()
	defer d.aggregator.mu.Unlock()
	clear(d.aggregator.rounds)
}
