package entry

// Direct says whether a Decoder reads a text by itself.
func (d *Decoder) Direct(text []byte) bool { return d.direct(text) != nil }
