"""`$metadata`: the model as OData describes it (CSDL in XML).

In: the model. Out: an XML document. Never: an annotation that the model does not have.
"""

from __future__ import annotations

from functools import cache
from xml.etree import ElementTree as ET

from sandbox.channel_advisor_v1 import schema
from sandbox.channel_advisor_v1.face import Face, Path
from sandbox.channel_advisor_v1.schema import NAMESPACE, Entity, Property
from sandbox.kernel.http import Answer
from sandbox.kernel.system import Call

EDMX, EDM = "http://docs.oasis-open.org/odata/ns/edmx", "http://docs.oasis-open.org/odata/ns/edm"


def add(face: Face) -> None:
    face.whole["GET", "$metadata"] = answer


def answer(call: Call, path: Path) -> Answer:
    return Answer(200, document(), media="application/xml")


@cache
def document() -> bytes:
    root = ET.Element("edmx:Edmx", {"Version": "4.0", "xmlns:edmx": EDMX})
    inner = ET.SubElement(ET.SubElement(root, "edmx:DataServices"), "Schema", {"Namespace": NAMESPACE, "xmlns": EDM})
    for entity in schema.entities().values():
        _entity(inner, "EntityType", entity)
    for entity in schema.complexes().values():
        _entity(inner, "ComplexType", entity)
    for name, members in schema.enums().items():
        described = ET.SubElement(inner, "EnumType", {"Name": name})
        for member in members:
            ET.SubElement(described, "Member", {"Name": member})
    container = ET.SubElement(inner, "EntityContainer", {"Name": "Container"})
    for name, entity in schema.sets().values():
        ET.SubElement(container, "EntitySet", {"Name": name, "EntityType": entity.type})
    return ET.tostring(root, "utf-8", xml_declaration=True)


def _entity(parent: ET.Element, kind: str, entity: Entity) -> None:
    described = ET.SubElement(parent, kind, {"Name": entity.name})
    if entity.key:
        key = ET.SubElement(described, "Key")
        for name in entity.key:
            ET.SubElement(key, "PropertyRef", {"Name": name})
    for prop in entity.properties.values():
        attributes = {"Name": prop.name, "Type": _type(prop)}
        ET.SubElement(described, "Property", attributes | ({} if prop.nullable else {"Nullable": "false"}))
    for link in entity.links.values():
        target = f"{NAMESPACE}.{link.target}"
        written = f"Collection({target})" if link.many else target
        ET.SubElement(described, "NavigationProperty", {"Name": link.name, "Type": written})


def _type(prop: Property) -> str:
    written = {"Enum": f"{NAMESPACE}.{prop.enum}", "Complex": f"{NAMESPACE}.{prop.complex}"}.get(prop.kind)
    written = written or f"Edm.{prop.kind}"
    return f"Collection({written})" if prop.many else written
