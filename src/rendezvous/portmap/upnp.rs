//! UPnP IGD: a search over multicast, a description over HTTP, and requests over SOAP.
//!
//! The program reads only a few elements of a router's answers, and connects only to the address that
//! answered. So a router cannot make the program talk to anybody else.

use std::net::{Ipv4Addr, SocketAddr};

/// The address of searches (UPnP Device Architecture 1.1, section 1.3.2).
pub(crate) const SEARCH_AT: (Ipv4Addr, u16) = (Ipv4Addr::new(239, 255, 255, 250), 1900);

/// Services that map ports, in order of preference.
const SERVICES: [&str; 3] = [
    "urn:schemas-upnp-org:service:WANIPConnection:2",
    "urn:schemas-upnp-org:service:WANIPConnection:1",
    "urn:schemas-upnp-org:service:WANPPPConnection:1",
];

/// The longest path or service name that is taken from a router.
const MAX_WORD: usize = 256;

/// The search for a router.
pub(crate) const SEARCH: &str = "M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\n\
                                 ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n\r\n";

/// The URL of the description in an answer to the search. `None` if it is not on the host that answered.
pub(crate) fn description_at(answer: &str, from: SocketAddr) -> Option<(SocketAddr, String)> {
    let line = answer.lines().find(|line| {
        line.get(..9)
            .is_some_and(|name| name.eq_ignore_ascii_case("location:"))
    })?;
    let url = line[9..].trim().strip_prefix("http://")?;
    let (host, path) = url.split_once('/').unwrap_or((url, ""));
    let host: SocketAddr = host.parse().or_else(|_| format!("{host}:80").parse()).ok()?;
    (host.ip() == from.ip()).then_some(())?;
    Some((host, word(&format!("/{path}"))?.to_owned()))
}

/// The name and the control path of a service that maps ports, from a description.
pub(crate) fn control(description: &str) -> Option<(&'static str, String)> {
    SERVICES.into_iter().find_map(|service| {
        let (_, rest) = description.split_once(&format!("<serviceType>{service}</serviceType>"))?;
        let rest = rest.split("</service>").next()?;
        let path = element(rest, "controlURL")?.trim();
        // A whole URL would name another host, or the same one redundantly.
        let path = match path.strip_prefix("http://") {
            Some(url) => &url[url.find('/')?..],
            None => path,
        };
        let path = if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("/{path}")
        };
        Some((service, word(&path)?.to_owned()))
    })
}

/// A word that may stand in the first line of a request.
fn word(text: &str) -> Option<&str> {
    (text.len() <= MAX_WORD && text.bytes().all(|b| b.is_ascii_graphic())).then_some(text)
}

fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    Some(rest.split_once(&format!("</{name}>"))?.0)
}

/// A request to the service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ask {
    /// Asks for the outside address.
    Address,
    /// Asks for a mapping for this many seconds; 0 means until it is deleted.
    Map {
        client: Ipv4Addr,
        internal: u16,
        external: u16,
        lease: u32,
    },
    /// Deletes a mapping.
    Unmap { external: u16 },
}

/// The HTTP message of a request.
pub(crate) fn request(host: SocketAddr, path: &str, service: &str, ask: Ask) -> String {
    let (action, arguments) = match ask {
        Ask::Address => ("GetExternalIPAddress", String::new()),
        Ask::Map {
            client,
            internal,
            external,
            lease,
        } => (
            "AddPortMapping",
            format!(
                "<NewRemoteHost></NewRemoteHost><NewExternalPort>{external}</NewExternalPort><NewProtocol>UDP</NewProtocol>\
                 <NewInternalPort>{internal}</NewInternalPort><NewInternalClient>{client}</NewInternalClient>\
                 <NewEnabled>1</NewEnabled><NewPortMappingDescription>p2pcopy</NewPortMappingDescription>\
                 <NewLeaseDuration>{lease}</NewLeaseDuration>"
            ),
        ),
        Ask::Unmap { external } => (
            "DeletePortMapping",
            format!(
                "<NewRemoteHost></NewRemoteHost><NewExternalPort>{external}</NewExternalPort><NewProtocol>UDP</NewProtocol>"
            ),
        ),
    };
    let body = format!(
        "<?xml version=\"1.0\"?><s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
         s:encodingStyle=\"http://schemas.xmlsoap.org/soap/encoding/\"><s:Body><u:{action} xmlns:u=\"{service}\">\
         {arguments}</u:{action}></s:Body></s:Envelope>"
    );
    format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: text/xml; charset=\"utf-8\"\r\n\
         SOAPAction: \"{service}#{action}\"\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// The HTTP request for a description.
pub(crate) fn get(host: SocketAddr, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
}

/// Whether an HTTP answer reports success.
pub(crate) fn is_granted(answer: &str) -> bool {
    let mut words = answer.lines().next().unwrap_or_default().split(' ');
    words.next().is_some_and(|http| http.starts_with("HTTP/1.")) && words.next() == Some("200")
}

/// The outside address in an answer.
pub(crate) fn address(answer: &str) -> Option<Ipv4Addr> {
    element(answer, "NewExternalIPAddress")?.trim().parse().ok()
}

/// The error number of a refused mapping (IGD WANIPConnection:1, section 2.4.16).
pub(crate) fn refusal(answer: &str) -> Option<u16> {
    element(answer, "errorCode")?.trim().parse().ok()
}

/// The router only grants mappings without an end.
pub(crate) const ONLY_PERMANENT: u16 = 725;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DESCRIPTION: &str = "<root><service><serviceType>urn:schemas-upnp-org:service:WANCommonInterfaceConfig:1\
        </serviceType><controlURL>/ctl/CmnIfCfg</controlURL></service><service>\
        <serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType>\
        <controlURL>/ctl/IPConn</controlURL></service></root>";

    fn router() -> SocketAddr {
        "192.168.1.1:1900".parse().unwrap()
    }

    #[test]
    fn only_the_host_that_answered_is_asked() {
        let answer = |location: &str| format!("HTTP/1.1 200 OK\r\nLOCATION: {location}\r\n\r\n");
        let found = description_at(&answer("http://192.168.1.1:5000/rootDesc.xml"), router());
        assert_eq!(
            found,
            Some(("192.168.1.1:5000".parse().unwrap(), "/rootDesc.xml".into()))
        );
        for elsewhere in [
            "http://192.168.1.2:5000/x",
            "http://router.example/x",
            "https://192.168.1.1/x",
            "http://192.168.1.1:5000/x y",
        ] {
            assert_eq!(description_at(&answer(elsewhere), router()), None, "{elsewhere}");
        }
    }

    #[test]
    fn the_service_that_maps_ports_is_found_in_a_description() {
        let (service, path) = control(DESCRIPTION).unwrap();
        assert_eq!((service, path.as_str()), (SERVICES[1], "/ctl/IPConn"));
        let ask = Ask::Map {
            client: Ipv4Addr::new(192, 168, 1, 5),
            internal: 4300,
            external: 4300,
            lease: 120,
        };
        let request = request(router(), &path, service, ask);
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())));
        assert!(body.contains("<NewInternalClient>192.168.1.5</NewInternalClient>"));
    }

    #[test]
    fn answers_are_read() {
        assert!(is_granted("HTTP/1.1 200 OK\r\n") && !is_granted("HTTP/1.1 500 Error\r\n"));
        let told = "<NewExternalIPAddress>203.0.113.7</NewExternalIPAddress>";
        assert_eq!(address(told), Some(Ipv4Addr::new(203, 0, 113, 7)));
        assert_eq!(refusal("<errorCode>725</errorCode>"), Some(ONLY_PERMANENT));
    }

    proptest! {
        #[test]
        fn nonsense_is_answered_without_a_panic(text in any::<String>()) {
            let _ = (description_at(&text, router()), control(&text), address(&text), refusal(&text), is_granted(&text));
            let _ = description_at(&format!("location: http://{text}"), router());
            let _ = control(&DESCRIPTION.replace("/ctl/IPConn", &text));
        }
    }
}
