package gateway

// HoldSeats takes every execution seat: jobs are accepted and charged, and none
// runs until the returned function is called.
func (d *Domain) HoldSeats() (free func()) {
	for range maxExecutions {
		d.seats <- struct{}{}
	}
	return func() {
		for range maxExecutions {
			<-d.seats
		}
	}
}

// PublishedSize is the size of the last published checkpoint's tree.
func (d *Domain) PublishedSize() uint64 {
	_, size := d.log.Published()
	return size
}

// LogSize is the number of durable entries.
func (d *Domain) LogSize() uint64 { return d.log.Size() }
