// The other side of spec/interop/yamux_spec.lua, by hashicorp's yamux: PORT client|server STREAMS BYTES
// connects to the spec, answers its streams by their first line, and opens streams of its own.
package main

import (
	"bufio"
	"fmt"
	"io"
	"io/ioutil"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/hashicorp/yamux"
)

func check(err error) {
	if err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
}

// So many bytes.
func send(w io.Writer, count int64) error {
	piece := make([]byte, 100000)
	for count > 0 {
		if count < int64(len(piece)) {
			piece = piece[:count]
		}
		n, err := w.Write(piece)
		if err != nil {
			return err
		}
		count -= int64(n)
	}
	return nil
}

func answer(stream *yamux.Stream) {
	defer stream.Close()
	reader := bufio.NewReader(stream)
	line, err := reader.ReadString('\n')
	if err != nil {
		return
	}
	words := strings.Fields(line)
	switch words[0] {
	case "echo":
		io.Copy(stream, reader)
	case "count":
		n, _ := io.Copy(ioutil.Discard, reader)
		fmt.Fprintf(stream, "%d\n", n)
	case "send":
		count, _ := strconv.ParseInt(words[1], 10, 64)
		send(stream, count)
	case "hold":
		fmt.Fprintf(stream, "held\n")
		_, err := reader.ReadByte()
		fmt.Println("held:", err)
	}
}

func receive(session *yamux.Session, count int64) {
	stream, err := session.OpenStream()
	check(err)
	fmt.Fprintf(stream, "send %d\n", count)
	n, err := io.Copy(ioutil.Discard, stream)
	check(err)
	if n != count {
		check(fmt.Errorf("%d bytes of %d", n, count))
	}
	stream.Close()
}

func upload(session *yamux.Session, count int64) {
	stream, err := session.OpenStream()
	check(err)
	fmt.Fprintf(stream, "count %d\n", count)
	check(send(stream, count))
	line, err := bufio.NewReader(stream).ReadString('\n')
	check(err)
	if line != fmt.Sprintf("%d\n", count) {
		check(fmt.Errorf("counted: %s", line))
	}
	stream.Close()
}

func main() {
	conn, err := net.Dial("tcp", "127.0.0.1:"+os.Args[1])
	check(err)
	config := yamux.DefaultConfig()
	config.LogOutput = os.Stderr
	var session *yamux.Session
	if os.Args[2] == "client" {
		session, err = yamux.Client(conn, config)
	} else {
		session, err = yamux.Server(conn, config)
	}
	check(err)
	go func() {
		for {
			stream, err := session.AcceptStream()
			if err != nil {
				return
			}
			go answer(stream)
		}
	}()
	streams, _ := strconv.Atoi(os.Args[3])
	bytes, _ := strconv.ParseInt(os.Args[4], 10, 64)
	var wait sync.WaitGroup
	for i := 0; i < streams; i++ {
		wait.Add(1)
		go func() {
			receive(session, 1000)
			wait.Done()
		}()
	}
	wait.Wait()
	rtt, err := session.Ping()
	check(err)
	fmt.Println("opened", streams, rtt > 0)
	if bytes > 0 {
		receive(session, bytes)
		upload(session, bytes)
		fmt.Println("moved", bytes)
	}
	<-session.CloseChan()
	fmt.Println("closed")
}
