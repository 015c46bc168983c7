package encryption

// SealedSize returns how long plain bytes are when they are sealed under a header of that size: a nonce, and 16 bytes for each chunk of 64 KiB, of
// which there is at least one.
func SealedSize(header, plain int64) int64 {
	return header + nonceSize + plain + tagSize*max(1, (plain+chunkSize-1)/chunkSize)
}

// PlainSize is the inverse of SealedSize; false if nothing is as long when it is sealed.
func PlainSize(header, size int64) (int64, bool) {
	payload := size - header - nonceSize
	plain := payload - tagSize*max(1, (payload+sealed-1)/sealed)
	return plain, plain >= 0 && SealedSize(header, plain) == size
}

// Lead returns how many bytes come before the first chunk.
func Lead(header int64) int64 { return header + nonceSize }

// Chunks returns the range [from, to) of the bytes of the chunks that hold the plain bytes [start, end), of a whole that has size bytes when it is
// sealed. 0 <= start < end.
func Chunks(header, size, start, end int64) (from, to int64) {
	from = Lead(header) + start/chunkSize*sealed
	to = Lead(header) + (end+chunkSize-1)/chunkSize*sealed
	return from, min(to, size)
}

// LastChunk returns where the last chunk begins.
func LastChunk(header, size int64) int64 {
	payload := size - Lead(header)
	return Lead(header) + max(0, (payload-1)/sealed)*sealed
}
