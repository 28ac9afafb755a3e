"""Resumable uploads at /uploads/: tus 1.0 with creation, creation-with-upload, termination, checksum and expiration.

An upload becomes a file by the engine's one way of writing, with the same conditions as a PUT; they are looked at when it is made and
again at its end. Where its bytes are until then is left to `server.upload_files`.
"""

from __future__ import annotations

import asyncio

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from accord.engine.deciding import Refused
from accord.engine.write import Written
from accord.errors import (
    AccordError,
    Conflict,
    ContentTooLarge,
    NotAllowed,
    PreconditionFailed,
    RequestTooSlow,
    TooFewCopies,
    UnsupportedContent,
)
from accord.model.names import FilePath
from accord.server.media import Form, negotiate
from accord.server.metrics import Outcome
from accord.server.outcomes import written_fields
from accord.server.problems import render, write_refused
from accord.server.rendering import http_date, sf_string
from accord.server.services import Services
from accord.server.tus_fields import (
    ALGORITHMS,
    Checksum,
    announces_content,
    as_write,
    read_checksum,
    read_metadata,
    read_number,
)
from accord.server.upload_files import Upload, UploadFiles
from accord.server.upload_parts import Part, large_blocks
from accord.server.wishes import (
    Sums,
    as_fields,
    read_checks,
    read_wish,
)

TUS_VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,termination,checksum,expiration"

_CONTENT_TYPE = "application/offset+octet-stream"
_METHODS = "POST, HEAD, PATCH, DELETE, OPTIONS"
_COMMON = {"tus-resumable": TUS_VERSION, "cache-control": "no-store", "x-content-type-options": "nosniff"}


class UploadRoute:
    """Answers requests about the uploads of one server."""

    def __init__(self, services: Services, files: UploadFiles) -> None:
        self._services = services
        self._files = files

    async def __call__(self, request: Request) -> Response:
        try:
            return await self._answer(request)
        except AccordError as error:
            return _problem(request, error)
        except ClientDisconnect:
            return Response(status_code=400)  # to nobody

    async def _answer(self, request: Request) -> Response:
        method = request.headers.get("x-http-method-override", request.method).upper()
        if method == "OPTIONS":
            return await self._options()
        if request.headers.get("tus-resumable") != TUS_VERSION:
            refusal = PreconditionFailed(
                f"This is tus {TUS_VERSION}: the request needs 'Tus-Resumable: {TUS_VERSION}'."
            )
            refusal.fields = ((b"tus-version", TUS_VERSION.encode()),)
            raise refusal
        id = request.path_params.get("id", "")
        if not id:
            if method == "POST":
                return await self._create(request)
            raise _not_allowed(method, "POST, OPTIONS")
        match method:
            case "HEAD":
                await self._files.is_free(id)
                return self._told(200, await asyncio.to_thread(self._files.load, id))
            case "PATCH":
                return await self._patch(request, id)
            case "DELETE":
                async with self._files.taken(id):
                    await asyncio.to_thread(self._files.load, id)
                    await asyncio.to_thread(self._files.remove, id)
                return Response(status_code=204, headers=_COMMON)
            case _:
                raise _not_allowed(method, "HEAD, PATCH, DELETE, OPTIONS")

    async def _options(self) -> Response:
        max_bytes = await asyncio.to_thread(self._files.max_bytes)
        told = {
            "tus-version": TUS_VERSION,
            "tus-extension": EXTENSIONS,
            "tus-checksum-algorithm": ",".join(ALGORITHMS),
            "tus-max-size": str(max_bytes),
            "allow": _METHODS,
        }
        return Response(status_code=204, headers={**_COMMON, **told})

    # --- creation ---

    async def _create(self, request: Request) -> Response:
        length = read_number(request, "upload-length")
        max_bytes = await asyncio.to_thread(self._files.max_bytes)
        if length > max_bytes:
            refusal = ContentTooLarge(f"There is room for uploads of at most {max_bytes} bytes.")
            refusal.fields = ((b"tus-max-size", b"%d" % max_bytes),)
            raise refusal
        has_part = request.headers.get("content-type", "").partition(";")[0].strip().lower() == _CONTENT_TYPE
        if not has_part and announces_content(request):
            raise UnsupportedContent(f"Content has to come as {_CONTENT_TYPE}.")
        metadata = request.headers.get("upload-metadata", "")
        path, fields = as_write(request, read_metadata(metadata))
        await self._look(path, fields)
        checksum = read_checksum(request)
        if has_part:
            _check_announced(request, length)
        upload = await asyncio.to_thread(self._files.create, length, str(path), fields, metadata)
        async with self._files.taken(upload.id):
            try:
                if has_part:
                    await self._append(request, upload, checksum)
                if upload.is_complete:
                    await self._complete(upload)
            except AccordError as error:
                # The upload is there all the same: whoever is not told where could neither go on with it nor end it.
                error.fields = (*error.fields, (b"location", _address(upload).encode()), *_offset_field(upload))
                raise
        return self._told(201, upload, {"location": _address(upload)})

    async def _look(self, path: FilePath, fields: dict[str, str]) -> None:
        """What would be refused at the end is refused now, as far as it can be known."""
        told = as_fields(fields)
        read_checks(told)
        try:
            await self._services.writer.look(path, read_wish(told, path), deletes=False)
        except Refused as refused:
            raise write_refused(refused.refusal, refused.verdict) from refused

    # --- parts ---

    async def _patch(self, request: Request, id: str) -> Response:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _CONTENT_TYPE:
            raise UnsupportedContent(f"A part has to come as {_CONTENT_TYPE}.")
        offset, checksum = read_number(request, "upload-offset"), read_checksum(request)
        async with self._files.taken(id):
            upload = await asyncio.to_thread(self._files.load, id)
            if offset != upload.offset:
                refusal = Conflict(f"The upload has {upload.offset} bytes; what comes next does not begin at {offset}.")
                refusal.fields = _offset_field(upload)
                raise refusal
            await self._append(request, upload, checksum)
            if upload.is_complete and upload.done is None:
                try:
                    await self._complete(upload)
                except AccordError as error:
                    error.fields = (*error.fields, *_offset_field(upload))
                    raise
        return self._told(204, upload)

    async def _append(self, request: Request, upload: Upload, checksum: Checksum | None) -> None:
        """Add the request's content. Cut off, it counts as far as it came, but for a part whose checksum cannot be known then."""
        room = upload.length - upload.offset
        _check_announced(request, room)
        if room == 0:
            return
        part = Part(await asyncio.to_thread(self._files.appending, upload), checksum, room)
        try:
            async for block in large_blocks(request):
                self._services.metrics.received(len(block))
                await asyncio.to_thread(part.write, block)
            await asyncio.to_thread(part.finish)
        except (ClientDisconnect, RequestTooSlow, asyncio.CancelledError):
            if checksum is None:
                await asyncio.to_thread(part.finish)
            raise
        finally:
            await asyncio.to_thread(part.close)

    # --- the end ---

    async def _complete(self, upload: Upload) -> None:
        """Make it a file. Where that is refused the upload stays, for another try."""
        try:
            written = await self._write(upload)
        except TooFewCopies as error:
            self._services.metrics.wrote(Outcome.FAILED)
            stored = error.extra.get("stored")
            if stored:
                # The write was made, and cannot be taken back; a second would only be another version.
                done = {"accord-stored": ", ".join(map(sf_string, stored))}
                await asyncio.to_thread(self._files.finish, upload, done)
            raise
        except AccordError as error:
            self._services.metrics.wrote(Outcome.of_error(error))
            error.path = error.path or upload.path
            raise
        self._services.metrics.wrote(Outcome.of_written(written))
        done = {name.decode(): value.decode("latin-1") for name, value in written_fields(written)}
        await asyncio.to_thread(self._files.finish, upload, done)

    async def _write(self, upload: Upload) -> Written:
        told = as_fields(upload.fields)
        checks = read_checks(told)
        sums = Sums(checks)
        try:
            path = FilePath(upload.path)
            writing = await self._services.writer.begin(path, read_wish(told, path), size=upload.length)
            try:
                blocks = self._files.reading(upload)
                while block := await asyncio.to_thread(next, blocks, b""):
                    if sums:
                        await asyncio.to_thread(sums.update, block)
                    await writing.write(block)
                sums.verify()
            except BaseException:
                await writing.abort()
                raise
            return await writing.finish(digest=checks.digest)
        except Refused as refused:
            raise write_refused(refused.refusal, refused.verdict) from refused

    def _told(self, status: int, upload: Upload, more: dict[str, str] | None = None) -> Response:
        told = {
            **_COMMON,
            "upload-offset": str(upload.offset),
            "upload-length": str(upload.length),
            "upload-expires": http_date(int(upload.expires_s)).decode(),
            **({"upload-metadata": upload.metadata} if upload.metadata else {}),
            **(upload.done or {}),
            **(more or {}),
        }
        return Response(status_code=status, headers=told)


def _address(upload: Upload) -> str:
    return f"/uploads/{upload.id}"


def _check_announced(request: Request, room: int) -> None:
    announced = request.headers.get("content-length")
    if announced is not None and int(announced) > room:
        raise ContentTooLarge(f"The upload lacks {room} bytes, and not {announced}.")


def _offset_field(upload: Upload) -> tuple[tuple[bytes, bytes], ...]:
    return ((b"upload-offset", b"%d" % upload.offset),)


def _not_allowed(method: str, allowed: str) -> NotAllowed:
    refusal = NotAllowed(f"{method[:20]} is not possible here.")
    refusal.fields = ((b"allow", allowed.encode()),)
    return refusal


def _problem(request: Request, error: AccordError) -> Response:
    accept = request.headers.get("accept")
    form = negotiate(accept.encode("latin-1") if accept else None, (Form.JSON, Form.HTML))
    problem = render(error, form=form, fields=[(b"tus-resumable", TUS_VERSION.encode())])
    told = {name.decode(): value.decode("latin-1") for name, value in problem.fields}
    if "expect" in request.headers or isinstance(error, RequestTooSlow):
        # Whether the content still comes cannot be known, and so not where the next request begins.
        told["connection"] = "close"
    return Response(problem.body, problem.status, headers=told)
