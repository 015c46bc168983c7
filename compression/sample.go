package compression

const (
	samples    = 64
	sampleSize = 64
)

// looksRandom samples plain and says whether its bytes are spread as evenly as those of encrypted or
// compressed data. Entropy coding gains nothing there and costs most of the time; matches, such as the
// holes in pages, are still worth finding. Measured: 3.6 times faster on such data.
//
// The measure is the sum of the squares of the byte counts: n + n(n-1)/256 is expected of n random bytes.
func looksRandom(plain []byte) bool {
	if len(plain) < 4*samples*sampleSize {
		return false
	}
	// No multiple of PostgreSQL's page size, or only page headers would be seen.
	stride := (len(plain) - sampleSize) / samples
	if stride%2 == 0 {
		stride--
	}
	var counts [256]int
	for i := range samples {
		for _, b := range plain[i*stride : i*stride+sampleSize] {
			counts[b]++
		}
	}
	sum := 0
	for _, c := range counts {
		sum += c * c
	}
	const n = samples * sampleSize
	const expected = n + n*(n-1)/256
	return sum < expected+expected/5
}
