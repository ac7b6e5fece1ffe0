package entry

// Unshared is e without the mark that its core is shared.
func (e *Entry) Unshared() *Entry {
	if e != nil {
		if r := e.request(); r != nil {
			r.shared = false
		}
	}
	return e
}

// Direct says whether a Decoder reads a text by itself.
func (d *Decoder) Direct(text []byte) bool { return d.direct(text) != nil }
