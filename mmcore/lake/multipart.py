"""An S3 object written piece by piece: a multipart upload, visible only when it is completed."""

from __future__ import annotations

from typing import Any

PART_BYTES = 8 << 20
"""Size of an uploaded part. S3 takes at least 5 MiB and at most 10,000 parts: 80 GB an object."""


class MultipartSink:
    """Appends to an object that nobody sees before `commit`; holds at most one part in memory.

    What fits into one part is sent as a plain object.
    """

    def __init__(self, client: Any, bucket: str, key: str) -> None:
        self._client = client
        self._object = {"Bucket": bucket, "Key": key}
        self._pending = bytearray()
        self._upload: str | None = None
        self._parts: list[dict[str, Any]] = []

    def write(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        while len(view):
            room = PART_BYTES - len(self._pending)
            self._pending += view[:room]
            view = view[room:]
            if len(self._pending) == PART_BYTES:
                self._send()

    def commit(self) -> None:
        if self._upload is None:
            self._client.put_object(**self._object, Body=bytes(self._pending))
            return
        if self._pending:
            self._send()
        self._client.complete_multipart_upload(
            **self._object, UploadId=self._upload, MultipartUpload={"Parts": self._parts}
        )
        self._upload = None

    def abort(self) -> None:
        self._pending.clear()
        if self._upload is not None:
            self._client.abort_multipart_upload(**self._object, UploadId=self._upload)
            self._upload = None

    def _send(self) -> None:
        if self._upload is None:
            self._upload = self._client.create_multipart_upload(**self._object)["UploadId"]
        number = len(self._parts) + 1
        answer = self._client.upload_part(
            **self._object, UploadId=self._upload, PartNumber=number, Body=bytes(self._pending)
        )
        self._parts.append({"PartNumber": number, "ETag": answer["ETag"]})
        self._pending.clear()
