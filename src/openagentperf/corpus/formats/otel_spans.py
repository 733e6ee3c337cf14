"""Spans of OpenTelemetry as files hold them: OTLP JSON (the collector's file exporter), flat traces, single spans of an SDK."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from msgspec import Struct, field

from openagentperf.corpus.formats import counts
from openagentperf.corpus.formats.documents import documents
from openagentperf.records.trajectory import Skipped
from openagentperf.units import Ns

_MAX_NS = 1 << 63
_ERROR = (2, "STATUS_CODE_ERROR", "ERROR")


class Span(Struct, gc=False):
    """One span, whatever file it came from."""

    where: str
    trace: str
    id: str
    parent: str
    name: str
    start: Ns | None
    end: Ns | None
    attributes: dict[str, object]
    events: tuple[tuple[str, dict[str, object]], ...] = ()
    failed: bool = False
    service: str = ""

    def text(self, *names: str) -> str:
        """The first of these attributes that is a string; "" where none is."""
        return next((value for name in names if isinstance(value := self.attributes.get(name), str)), "")

    def tokens(self, *names: str) -> int | None:
        """The first of these attributes that is a count."""
        for name in names:
            value = self.attributes.get(name)
            if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
                value = int(value)  # OTLP JSON writes 64-bit integers as strings
            if (found := counts.tokens(value)) is not None:
                return found
        return None


class _Value(Struct, gc=False):
    string: str | None = field(default=None, name="stringValue")
    whole: object = field(default=None, name="intValue")
    real: object = field(default=None, name="doubleValue")
    truth: bool | None = field(default=None, name="boolValue")
    array: _Values | None = field(default=None, name="arrayValue")
    keyed: _Keyed | None = field(default=None, name="kvlistValue")


class _Values(Struct, gc=False):
    values: list[_Value] = []


class _Attribute(Struct, gc=False):
    key: str
    value: _Value | None = None


class _Keyed(Struct, gc=False):
    values: list[_Attribute] = []


class _Event(Struct, gc=False):
    name: str = ""
    attributes: list[_Attribute] = []


class _Status(Struct, gc=False):
    code: object = None
    status_code: object = None


class _OtlpSpan(Struct, gc=False):
    trace: str = field(default="", name="traceId")
    id: str = field(default="", name="spanId")
    parent: str | None = field(default=None, name="parentSpanId")
    name: str = ""
    start: object = field(default=None, name="startTimeUnixNano")
    end: object = field(default=None, name="endTimeUnixNano")
    attributes: list[_Attribute] = []
    events: list[_Event] = []
    status: _Status | None = None


class _Scope(Struct):
    spans: list[_OtlpSpan] = []


class _Described(Struct):
    attributes: list[_Attribute] = []


class _Resource(Struct):
    resource: _Described | None = None
    scopes: list[_Scope] = field(default=[], name="scopeSpans")
    old_scopes: list[_Scope] = field(default=[], name="instrumentationLibrarySpans")


class _Context(Struct, gc=False):
    trace_id: str = ""
    span_id: str = ""


class _FlatEvent(Struct, gc=False):
    name: str = ""
    attributes: dict[str, object] | None = None


class _FlatSpan(Struct):
    context: _Context | None = None
    """Of a span as an SDK prints it."""
    trace_id: str = ""
    span_id: str = ""
    parent_span_id: str | None = None
    parent_id: str | None = None
    name: str = ""
    start_time: object = None
    end_time: object = None
    attributes: dict[str, object] | None = None
    events: list[_FlatEvent] | None = None
    status: _Status | None = None


class _Record(_FlatSpan):
    resources: list[_Resource] | None = field(default=None, name="resourceSpans")
    spans: list[_FlatSpan] | None = None


_RECORD = msgspec.json.Decoder(_Record)


def spans(data: bytes, source: str, skipped: list[Skipped]) -> Iterator[Span]:
    """Every span of a file; what cannot be read goes to `skipped`."""
    for where, record in documents(data, source, skipped, _RECORD):
        if record.resources is not None:
            yield from _of_batch(record.resources, where)
        elif record.spans is not None:
            for span in record.spans:
                yield _flat(span, where, record.trace_id)
        elif record.span_id or record.context is not None:
            yield _flat(record, where, "")
        else:
            skipped.append(Skipped(where, "is no span and no batch of spans"))


def _of_batch(resources: list[_Resource], where: str) -> Iterator[Span]:
    for resource in resources:
        about = _plain_all(resource.resource.attributes if resource.resource is not None else [])
        service = about.get("service.name")
        for scope in (*resource.scopes, *resource.old_scopes):
            for span in scope.spans:
                yield Span(
                    where=where,
                    trace=span.trace,
                    id=span.id,
                    parent=span.parent or "",
                    name=span.name,
                    start=_nanos(span.start),
                    end=_nanos(span.end),
                    attributes=_plain_all(span.attributes),
                    events=tuple((event.name, _plain_all(event.attributes)) for event in span.events),
                    failed=_failed(span.status),
                    service=service if isinstance(service, str) else "",
                )


def _flat(span: _FlatSpan, where: str, trace: str) -> Span:
    context = span.context or _Context()
    return Span(
        where=where,
        trace=span.trace_id or context.trace_id or trace,
        id=span.span_id or context.span_id,
        parent=span.parent_span_id or span.parent_id or "",
        name=span.name,
        start=_moment(span.start_time),
        end=_moment(span.end_time),
        attributes=span.attributes or {},
        events=tuple((event.name, event.attributes or {}) for event in span.events or ()),
        failed=_failed(span.status),
    )


def _plain_all(attributes: list[_Attribute]) -> dict[str, object]:
    return {attribute.key: _plain(attribute.value) for attribute in attributes if attribute.value is not None}


def _plain(value: _Value | None) -> object:
    if value is None:
        return None
    if value.array is not None:
        return [_plain(item) for item in value.array.values]
    if value.keyed is not None:
        return {item.key: _plain(item.value) for item in value.keyed.values}
    if isinstance(value.whole, str) and value.whole.isascii() and value.whole.isdigit() and len(value.whole) < 20:
        return int(value.whole)
    return next((found for found in (value.string, value.whole, value.real, value.truth) if found is not None), None)


def _failed(status: _Status | None) -> bool:
    return status is not None and (status.code in _ERROR or status.status_code in _ERROR)


def _nanos(value: object) -> Ns | None:
    """Nanoseconds since 1970, as a number or as its digits."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < _MAX_NS:
        return None
    return value


def _moment(value: object) -> Ns | None:
    """A time of a flat span: ISO 8601, or nanoseconds."""
    return counts.stamp_ns(value) if isinstance(value, str) and not value.isdigit() else _nanos(value)
