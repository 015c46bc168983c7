package repository

import (
	"context"
	"sync"
)

// objectsAtOnce is how many objects of one segment are read at the same time. A quiet cluster's open segment has a piece for each second in which something was written,
// and where commits wait one for each of them: thousands, of a few hundred bytes. One after another they would cost a round trip each.
const objectsAtOnce = 16

// inOrder reads objects whole, some at the same time, and calls visit with the plain bytes of each in their order. It ends with the first error, and none of its reads goes
// on when it returns.
func (c *Cluster) inOrder(ctx context.Context, objects []Entry, visit func(e Entry, plain []byte) error) error {
	type outcome struct {
		plain []byte
		err   error
	}
	ctx, cancel := context.WithCancel(ctx)
	var reads sync.WaitGroup
	defer func() {
		cancel()
		reads.Wait()
	}()
	pending := make(chan chan outcome, objectsAtOnce)
	next := 0
	begin := func() {
		e, done := objects[next], make(chan outcome, 1)
		next++
		pending <- done
		reads.Go(func() {
			_, plain, err := c.readObject(ctx, e, nil)
			done <- outcome{plain, err}
		})
	}
	for next < min(len(objects), objectsAtOnce) {
		begin()
	}
	for _, e := range objects {
		o := <-<-pending
		if next < len(objects) {
			begin()
		}
		if o.err != nil {
			return o.err
		}
		if err := visit(e, o.plain); err != nil {
			return err
		}
	}
	return nil
}
