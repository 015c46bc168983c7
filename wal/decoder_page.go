package wal

// readPageHeader reads some or all of the header that begins at pageEnd.
func (d *Decoder) readPageHeader(p []byte) (int, error) {
	want := shortHeader
	if d.size.Offset(d.pageEnd) == 0 {
		want = longHeader
	}
	n := copy(d.pageBuf[d.pageFill:want], p)
	d.pageFill += n
	if d.pageFill < want {
		return n, nil
	}
	d.pageFill = 0
	header := d.pageBuf[:want]
	if header[0] == 0 && header[1] == 0 && ZeroTail(header) == want {
		d.toZeros(d.pageEnd)
		return n, nil
	}
	h, err := ParsePageHeader(header)
	if err != nil {
		return n, corrupt(d.pageEnd, "%v", err)
	}
	if err := d.checkPage(h); err != nil {
		return n, err
	}
	return n, d.openPage(h)
}

// toZeros takes all bytes from at to the end of its segment for padding.
func (d *Decoder) toZeros(at LSN) {
	d.mode = zeros
	d.drop()
	d.pageEnd = d.size.Floor(at) + LSN(d.size)
}

// drop forgets the record in hand.
func (d *Decoder) drop() {
	d.left, d.headerFill, d.inBody, d.wanted, d.unseen = 0, 0, false, false, false
}

// checkPage compares a page header with its place and with the page before
// (XLogReaderValidatePageHeader).
func (d *Decoder) checkPage(h PageHeader) error {
	long := h.flags&pageLong != 0
	switch {
	case h.Address != d.pageEnd:
		return corrupt(d.pageEnd, "page says it is at %s", h.Address)
	case long != (d.size.Offset(d.pageEnd) == 0):
		return corrupt(d.pageEnd, "length of the page header is not that of its place")
	case long && h.SegmentSize != d.size:
		return corrupt(d.pageEnd, "segment size is %d bytes, want %d", h.SegmentSize, d.size)
	case long && d.system != 0 && h.SystemID != d.system:
		return corrupt(d.pageEnd, "system identifier is %s, before it was %s", h.SystemID, d.system)
	case d.page.Major != 0 && h.Major != d.page.Major:
		return corrupt(d.pageEnd, "page is of PostgreSQL %d, before it was %d", h.Major, d.page.Major)
	case h.Timeline < d.page.Timeline:
		return corrupt(d.pageEnd, "timeline is %d, before it was %d", h.Timeline, d.page.Timeline)
	case h.flags&pageContinued == 0 && h.Remaining != 0:
		return corrupt(d.pageEnd, "%d bytes of an earlier record that does not go on", h.Remaining)
	case h.flags&pageContinued != 0 && h.Remaining == 0:
		return corrupt(d.pageEnd, "an earlier record goes on with 0 bytes")
	case h.flags&pageContinued != 0 && h.flags&pageOverwrites != 0:
		return corrupt(d.pageEnd, "an earlier record both goes on and was given up")
	}
	return nil
}

// openPage goes on with the record in hand, if the page does.
func (d *Decoder) openPage(h PageHeader) error {
	headless := d.headless
	switch {
	case h.flags&pageOverwrites != 0:
		// The rest of the record in hand was never written: a server that
		// recovered from a crash put new records in its place.
		d.drop()
	case h.flags&pageContinued == 0 && d.left > 0:
		return corrupt(d.pageEnd, "record at %s does not go on", d.start)
	case h.flags&pageContinued != 0 && headless:
		d.left, d.inBody, d.unseen = h.Remaining, true, true
	case h.Remaining != d.left:
		return corrupt(d.pageEnd, "%d bytes of an earlier record, want %d", h.Remaining, d.left)
	}
	d.mode, d.headless = reading, false
	if h.SystemID != 0 {
		d.system = h.SystemID
	}
	h.SystemID, h.SegmentSize = d.system, d.size
	if d.unseen {
		d.head.End = d.pageEnd + LSN(h.headerLen())
	}
	d.page = h
	d.pageEnd += PageSize
	return nil
}
