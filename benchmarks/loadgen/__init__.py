"""The server under MLCommons' LoadGen: Server, Offline and SingleStream, for each budget."""
